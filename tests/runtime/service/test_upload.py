import asyncio
import socket
import threading
import time

import pytest

pytest.importorskip("httpx", reason="httpx is in requirements/dev.txt")
pytest.importorskip("fastapi", reason="the serve extra is not installed")
pytest.importorskip("python_multipart", reason="the serve extra is not installed")

from biounet_edge.photographs import memory

from .clients import post, post_form


async def drops(count: int, pause_s: float):
    """A byte at a time."""
    for _ in range(count):
        yield b"x"
        await asyncio.sleep(pause_s)


def test_service_refuses_what_is_too_large(make_app, content):
    app = make_app(photograph_bytes=1000)
    for answer in (*post(app, content), post_form(app, a=content)):
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.json()["detail"] == "the photograph is larger than 1,000 bytes"


def test_service_refuses_a_request_that_is_too_large_before_it_is_received(make_app, content):
    async def endless():
        yield b"x"
        raise AssertionError("more was asked for")

    (answer,) = post(make_app(request_bytes=1000), endless(), headers={"Content-Length": "2000"})
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the request has 2,000 bytes or more, at most 1,000 are taken"


def test_service_refuses_a_request_that_grows_too_large(make_app, content):
    answer = post_form(make_app(request_bytes=2 * len(content)), a=content, b=content)
    assert answer.status_code == 413
    assert "at most" in answer.json()["detail"]


def test_service_refuses_too_many_photographs(make_app, content):
    answer = post_form(make_app(photographs=2), a=content, b=content, c=content)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the request has more than 2 photographs: send fewer at once"


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        ("multipart/form-data", b"x", "the form cannot be read: its header names no boundary"),
        ("multipart/form-data; boundary=b", b"no form", "the form cannot be read: "),
        ("multipart/form-data; boundary=b",
         b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--\r\n",
         "the form has no file: send each photograph as a file"),
    ],
)  # fmt: skip
def test_service_refuses_a_form_without_photographs(make_app, kind, body, problem):
    (answer,) = post(make_app(), body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(problem)


@pytest.mark.parametrize(
    "limits",
    [{"stall_s": 0.2, "bytes_per_s": 1000}, {"stall_s": 60, "upload_s": 0.3}],
    ids=["too slow", "too long"],
)
def test_service_cuts_off_a_client_that_sends_a_byte_at_a_time(make_app, limits):
    start = time.monotonic()
    (answer,) = post(make_app(**limits), drops(1000, 0.05))
    assert time.monotonic() - start < 20
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert answer.json()["detail"].startswith("the request arrives too slowly: ")


def test_service_cuts_off_a_client_that_stops(make_app):
    async def stops():
        yield b"x" * 100_000
        await asyncio.sleep(60)

    start = time.monotonic()
    (answer,) = post(make_app(stall_s=0.2, bytes_per_s=1000), stops())
    assert time.monotonic() - start < 20
    assert answer.status_code == 408


def test_service_waits_for_a_client_that_is_slow_but_not_too_slow(make_app, content):
    async def slow():
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]
            await asyncio.sleep(0.01)

    (answer,) = post(make_app(stall_s=30, bytes_per_s=10), slow())
    assert answer.status_code == 200


def test_service_reads_free_memory_while_it_receives(make_app, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)

    async def large():
        for _ in range(40):
            yield bytes(1024**2)

    (answer,) = post(make_app(), large())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "does not fit into memory" in answer.json()["detail"]


def test_service_closes_the_connection_of_a_client_that_sends_a_byte_at_a_time(make_app):
    uvicorn = pytest.importorskip("uvicorn", reason="the serve extra is not installed")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(stall_s=0.5), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with socket.create_connection(listener.getsockname(), timeout=60) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            answer, closed = b"", False
            client.settimeout(0.05)
            end = time.monotonic() + 60
            while not closed and time.monotonic() < end:
                try:
                    client.sendall(b"x")
                    received = client.recv(4096)
                    answer, closed = answer + received, not received
                except TimeoutError:
                    continue
                except OSError:  # reset: it was closed with a byte on its way
                    closed = True
        assert closed
        assert answer.startswith(b"HTTP/1.1 408")
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
