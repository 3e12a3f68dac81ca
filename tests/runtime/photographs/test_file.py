import hashlib
import os
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import pytest

from biounet_edge import ImageError
from biounet_edge.photographs import file as image_file
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.photographs.file import read_file, turn_of
from biounet_edge.photographs.source import open_source

posix = pytest.mark.skipif(os.name != "posix", reason="this system has no such files")


def test_read_file_returns_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"one\r\n\x1a two")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "a") == read_file(tmp_path / "link") == b"one\r\n\x1a two"


def test_read_file_says_what_is_no_file(tmp_path):
    with pytest.raises(ImageError, match=r"^there is no such file$"):
        read_file(tmp_path / "missing")
    with pytest.raises(ImageError, match=r"^this is not a regular file$"):
        read_file(tmp_path)


@posix
def test_read_file_does_not_wait_on_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match=r"^this is not a regular file$"):
        read_file(tmp_path / "pipe")


@posix
def test_read_file_does_not_wait_on_a_pipe_that_was_a_file_a_moment_ago(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(ImageError, match=r"^this is not a regular file$"):
        read_file(tmp_path / "pipe")


@posix
def test_read_file_refuses_a_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may have about a hundred characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(ImageError, match=r"^this is not a regular file$"):
            read_file(tmp_path / "socket")


@posix
def test_read_file_refuses_a_device(tmp_path):
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(ImageError, match=r"^this is not a regular file$"):
        read_file(tmp_path / "endless")


@posix
def test_read_file_ends_on_a_loop_of_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ImageError, match=r"^there is no such file$"):
        read_file(tmp_path / "a")


@pytest.mark.parametrize("change", ["longer", "shorter", "rewritten"])
def test_read_file_refuses_a_file_that_changes_meanwhile(tmp_path, monkeypatch, change):
    path, fstat, calls = tmp_path / "a", os.fstat, []
    path.write_bytes(b"x" * 100)
    os.utime(path, (1, 1))

    def observed(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the content was read, and is now compared
            with path.open("r+b") as file:
                file.write(b"y")
                file.truncate({"longer": 101, "shorter": 99, "rewritten": 100}[change])
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", observed)
    with pytest.raises(ImageError, match="the file changed while it was read: wait until it is complete"):
        read_file(path)


def test_read_file_names_the_reason_and_no_path(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ImageError, match=r"^the file cannot be read: Permission denied$"):
        read_file(tmp_path / "a")


def test_read_file_says_why_a_folder_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"^the file cannot be read: Permission denied$"):
        read_file(tmp_path)


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The files that are opened, in order."""
    paths, open_file = [], image_file._opened
    monkeypatch.setattr(image_file, "_opened", lambda path: paths.append(path) or open_file(path))
    return paths


def test_checksum_reads_a_file_again_only_after_a_change(tmp_path, opened):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    assert image_file.checksum(path) == image_file.checksum(path) == hashlib.sha256(b"one").hexdigest()
    assert opened == [path]
    path.write_bytes(b"other")
    assert image_file.checksum(path) == hashlib.sha256(b"other").hexdigest()


def test_checksum_remembers_more_files_than_a_folder_has(tmp_path, opened, monkeypatch):
    image_file._digest_of_state.cache_clear()
    paths = [tmp_path / f"{i}" for i in range(20_000)]
    monkeypatch.setattr(image_file.os, "stat", lambda path: os.stat_result([0] * 10))
    monkeypatch.setattr(
        image_file, "_opened", lambda path: opened.append(path) or nullcontext((BytesIO(), 0))
    )
    for path in 2 * paths:
        image_file.checksum(path)
    image_file._digest_of_state.cache_clear()
    assert opened == paths


def test_checksum_of_a_file_with_many_frames_reads_it_once(tmp_path, opened):
    (tmp_path / "a").write_bytes(b"x" * 100)
    frames = [Frame(tmp_path / "a", number) for number in range(1, 33)]
    with ThreadPoolExecutor(8) as pool:
        checksums = set(pool.map(image_file.checksum, frames))
    assert len(checksums) == 32
    assert len(opened) == 1


def test_checksum_holds_a_part_of_the_file_only(tmp_path):
    path, size = tmp_path / "a", 64 * 1024**2
    with path.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        assert image_file.checksum(path) == hashlib.sha256(bytes(size)).hexdigest()
        tracemalloc.reset_peak()
        image_file._digest_of_state.cache_clear()
        image_file.checksum(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_large_files_are_held_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "LARGE_FILE_BYTES", 10)
    for name, size in (("small", 10), ("large", 11), ("other", 11)):
        (tmp_path / name).write_bytes(b"x" * size)
    with turn_of(tmp_path / "large"):
        assert turn_of(tmp_path / "other").locked()
        with turn_of(tmp_path / "small"), turn_of(tmp_path / "missing"):
            pass
    assert not turn_of(tmp_path / "other").locked()


def test_a_large_file_that_is_no_image_is_told_apart_by_its_first_bytes(tmp_path, opened):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(1900 * 1024**2)  # sparse: takes no space
    with pytest.raises(image_file.UnreadImageError, match="the file is not an image in a known format"):
        read_file(path)
    first = image_file.checksum(path)
    assert open_source(path).sha256 is None
    source = open_source(path)
    with pytest.raises(ImageError), source.read(128, 128):
        pass
    assert source.sha256 == first
    with path.open("r+b") as file:
        file.write(b"other")
    assert image_file.checksum(path) != first


def test_a_file_that_is_too_large_is_told_apart_by_its_first_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", 10)
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(image_file.UnreadImageError, match="the file has 11 bytes, at most 10 are read"):
        read_file(tmp_path / "a")
    for source in (open_source(tmp_path / "a"), open_source(Frame(tmp_path / "a", 1))):
        with pytest.raises(ImageError, match="at most 10 are read"), source.read(128, 128):
            pass
        assert source.sha256 is not None
