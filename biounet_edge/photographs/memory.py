"""Memory for large images: what is free is read first, and they wait for one another.

A file of 240 kB may hold 250 megapixels, and a system that runs out of memory kills the whole run without
a word. So an image that needs much says how much before it is decoded; one that does not fit beside the
others waits for them, and one that does not fit at all is rejected by name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Condition

from biounet_edge.errors import ImageError

MAX_PIXELS = 250_000_000
"""Largest image that is decoded, in pixels: 750 MB as RGB. Anything larger is a mistake or an attack."""

SMALL_BYTES = 32 * 1024**2
"""Images that need less are not counted: a 12-megapixel JPEG, read at half its size, needs 9 MB."""

LARGE_BYTES = 256 * 1024**2
"""Images that need more are decoded one after another, however much is free."""

RESERVE_BYTES = 64 * 1024**2
"""What is left free for all else that the process does meanwhile."""

PATIENCE_S = 0.5
"""How long an image that is alone waits for what an earlier one still holds, in seconds."""

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class _Counter:
    """What the images need that are being decoded now, in all threads together."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.bytes = 0
        self.large = False


_decoding = _Counter()


@contextmanager
def room_for(needed_bytes: int, what: str, *, must_fit: bool = True) -> Iterator[None]:
    """Wait until an image fits beside the others in work, and count it until the block ends.

    Args:
        needed_bytes: What it takes to decode it and to hold it, or to write its results.
        what: What needs that, for the message: "its 15,800 x 15,800 pixels".
        must_fit: False lets it go on once it is alone, even where it may not fit: what was read is written.

    Yields:
        Nothing.

    Raises:
        ImageError: If it does not fit even where nothing else is being decoded.
    """
    if needed_bytes < SMALL_BYTES:
        yield
        return
    large, patience = must_fit and needed_bytes > LARGE_BYTES, PATIENCE_S
    with _decoding.changed:
        while True:
            free = free_bytes()
            fits = free is None or needed_bytes + _decoding.bytes + RESERVE_BYTES <= free
            if fits and not (large and _decoding.large):
                break
            if _decoding.bytes == 0:
                if not must_fit:
                    break
                if patience <= 0:
                    raise _too_large(needed_bytes, free or 0, what)
                patience -= 0.1
            _decoding.changed.wait(0.1)
        _decoding.bytes += needed_bytes
        _decoding.large |= large
    try:
        yield
    finally:
        with _decoding.changed:
            _decoding.bytes -= needed_bytes
            _decoding.large &= not large
            _decoding.changed.notify_all()


def check_fits(needed_bytes: int, what: str) -> None:
    """Reject what does not fit into memory now.

    Args:
        needed_bytes: What it takes to hold it.
        what: What needs that, for the message.

    Raises:
        ImageError: If less is free.
    """
    free = free_bytes() if needed_bytes >= SMALL_BYTES else None
    if free is not None and needed_bytes + RESERVE_BYTES > free:
        raise _too_large(needed_bytes, free, what)


def _too_large(needed_bytes: int, free: int, what: str) -> ImageError:
    error = ImageError(
        f"the image does not fit into memory: {what} need {needed_bytes / 1e6:,.0f} MB and "
        f"{free / 1e6:,.0f} MB are free; free some, or save it smaller"
    )
    error.__cause__ = MemoryError()  # of this machine at this moment, and not of this content
    return error


def free_bytes() -> int | None:
    """Return how much more memory this process may take: the least of all limits that the system tells of.

    Returns:
        Bytes; None where the system tells of none.
    """
    found = [*_of_system(), *_of_groups(), *_of_address_space()]
    return max(0, min(found)) if found else None


def _of_system() -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        for line in (_PROC / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
        return
    if os.name == "nt":
        yield from _of_windows()


def _of_windows() -> Iterator[int]:
    import ctypes

    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *(
                (name, ctypes.c_uint64)
                for name in ("total", "free", "pages", "free_pages", "all", "left", "more")
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    if getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # noqa: B009
        yield min(int(status.free), int(status.left))


def _of_groups() -> Iterator[int]:
    """Control groups of both versions; a limit may be set on any group above this process's own."""
    with suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                root, limit, usage, cache = _CGROUPS, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root = _CGROUPS / "memory"
                limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = "total_inactive_file"
            else:
                continue
            inner = PurePosixPath(group.lstrip("/"))
            for level in (inner, *inner.parents):  # in a container, only the root may be there
                with suppress(OSError, ValueError):
                    folder = root / level
                    most = int((folder / limit).read_text(encoding="ascii"))  # "max" is no number
                    used = int((folder / usage).read_text(encoding="ascii"))
                    yield most - used + _cached(folder, cache)


def _cached(folder: Path, name: str) -> int:
    """Return what a group holds of files and gives back when it is needed."""
    with suppress(OSError, ValueError, IndexError):
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def _of_address_space() -> Iterator[int]:
    """`ulimit -v`."""
    try:
        import resource
    except ImportError:  # Windows
        return
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return
    with suppress(OSError, ValueError, IndexError):
        pages = int((_PROC / "self" / "statm").read_text(encoding="ascii").split()[0])
        yield most - pages * resource.getpagesize()
