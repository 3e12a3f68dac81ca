"""The bytes of an image file, whatever a folder holds under its name: a pipe, a device, a file being made."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from biounet_edge.errors import Category, ImageError
from biounet_edge.photographs.dicom.signature import Frame, is_dicom
from biounet_edge.photographs.header import HEAD_BYTES, check_known
from biounet_edge.photographs.memory import check_fits

MAX_FILE_BYTES = 2 * 1024**3
"""Largest file that is read, in bytes."""

LARGE_FILE_BYTES = 256 * 1024**2
"""Larger files are held in memory one after another; in bytes."""

_CHUNK_BYTES = 1024**2
_DIGESTS = 1_000_000  # that are kept, of half a kilobyte each

_one_large = Lock()
_one_of_a_file = tuple(Lock() for _ in range(16))

# O_NONBLOCK, because opening a pipe waits for its other end; Windows has no such pipes, and needs O_BINARY.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class UnreadImageError(ImageError):
    """A file is rejected by its size or its first bytes, and the rest of it is not read."""


def read_file(path: Path) -> bytes:
    """Read a regular file whole.

    Args:
        path: The file; links are followed.

    Returns:
        Its bytes, as they were at one time.

    Raises:
        ImageError: If it is missing, no regular file, too large, cannot be read or changes meanwhile; the
            message is the reason and names no path. An `UnreadImageError` where `checksum` tells it apart.
    """
    with _opened(path) as (file, size):
        _check_worth_reading(file, size)
        if size > LARGE_FILE_BYTES:
            check_fits(size, "the bytes of its file")
        return file.read(size + 1)


def _check_worth_reading(file: BinaryIO, size: int) -> None:
    """Reject by its size or its first bytes what would take gigabytes to read, and go back to the start."""
    if size > MAX_FILE_BYTES:
        raise UnreadImageError(f"the file has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
    if size > LARGE_FILE_BYTES:
        head = file.read(HEAD_BYTES)
        try:
            if not is_dicom(head):
                check_known(head)
        except ImageError as error:
            raise UnreadImageError(str(error)) from None
        file.seek(0)


def turn_of(path: Path) -> AbstractContextManager[object]:
    """Wait, where a file is large, until no other large file is held in memory.

    Args:
        path: A file that is to be read whole; it may not exist.

    Returns:
        To be entered before the file is read, and left when its bytes are no longer needed.
    """
    return _one_large if is_large(path) else nullcontext()


def is_large(path: Path) -> bool:
    """Return whether a file is one of those that are held in memory one after another.

    Args:
        path: A file; it may not exist.

    Returns:
        True where it has more than LARGE_FILE_BYTES.
    """
    try:
        return os.stat(path).st_size > LARGE_FILE_BYTES
    except (OSError, ValueError):  # whoever reads it says why it cannot be
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a regular file, opened, and its size; raise at the end if it was not read whole and unchanged."""
    try:
        if path.is_dir():
            os.scandir(path).close()  # a folder that cannot be listed says why
        if not path.is_file():
            if not path.exists():
                raise ImageError("there is no such file", Category.RETRY)
            raise ImageError("this is not a regular file")
        with open(os.open(path, _FLAGS), "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ImageError("this is not a regular file")
            yield file, before.st_size
            read, after = file.tell(), os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or type(error).__name__}") from error
    if (read, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        message = "the file changed while it was read: wait until it is complete and start again"
        raise ImageError(message, Category.RETRY)


def check_worth_reading(path: Path) -> None:
    """Reject a file as `read_file` does by its size and its first bytes, without reading more.

    Args:
        path: The file.

    Raises:
        ImageError: If it is too large, or large and no image, or cannot be read.
    """
    with _opened(path) as (file, size):
        _check_worth_reading(file, size)
        file.seek(size)


def checksum(source: Path | Frame) -> str:
    """Identify what is to be read by its content.

    Args:
        source: A file, or one frame of a DICOM file.

    Returns:
        A SHA-256 in hexadecimal; the same that the prediction carries. Of a file that `read_file` rejects by
        its size or its first bytes, it is that of its size and first bytes: no more of it counts.

    Raises:
        ImageError: If the file cannot be read.
    """
    if isinstance(source, Frame):
        return frame_checksum(source)
    return _digest(source).hexdigest()


def frame_checksum(frame: Frame) -> str:
    """Identify one frame of a DICOM file by the content of the file and its number.

    Args:
        frame: The frame.

    Returns:
        A SHA-256 in hexadecimal.

    Raises:
        ImageError: If the file cannot be read.
    """
    digest = _digest(frame.path).copy()
    digest.update(f"#{frame.number}".encode())
    return digest.hexdigest()


def _digest(path: Path) -> "hashlib._Hash":
    """Hash a file once: it may hold hundreds of frames, and a watched folder is read again and again."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror}") from error
    with _one_of_a_file[hash(path) % len(_one_of_a_file)]:  # its other frames wait for the first
        return _digest_of_state(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=_DIGESTS)
def _digest_of_state(path: Path, state: tuple[int, int, int]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    with _opened(path) as (file, size):
        try:
            _check_worth_reading(file, size)
        except UnreadImageError:
            file.seek(0)
            digest.update(b"%d#" % size + file.read(HEAD_BYTES))
            file.seek(size)
            return digest
        while file.tell() <= size and (chunk := file.read(_CHUNK_BYTES)):  # it may grow without an end
            digest.update(chunk)
    return digest
