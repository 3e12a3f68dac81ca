import hashlib
import os
import socket
from pathlib import Path

import pytest

from biounet_edge import ImageError, image_file
from biounet_edge.image_file import read_file

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


def test_checksum_reads_a_file_again_only_after_a_change(tmp_path, monkeypatch):
    path, reads = tmp_path / "a.png", []
    monkeypatch.setattr(image_file, "read_file", lambda path: reads.append(path) or path.read_bytes())
    path.write_bytes(b"one")
    assert image_file.checksum(path) == image_file.checksum(path) == hashlib.sha256(b"one").hexdigest()
    assert reads == [path]
    path.write_bytes(b"other")
    assert image_file.checksum(path) == hashlib.sha256(b"other").hexdigest()
