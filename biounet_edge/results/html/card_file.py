"""The cards of a report that is being written, one per line, and those that an earlier run left."""

import os
import re
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO, BinaryIO

from biounet_edge.storage import output_error

PART_NAME = ".report.part"
"""Cards of a run that is under way or was killed; the report replaces it."""

_FLAGS = 0  # neither follow a link nor wait for the other end of a pipe; no system has all of them
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)
_START = re.compile(rb'<li class="card" data-stem="([^"]*)"')
_END = b"</li>\n"


class CardFile:
    """Appends cards to the part file and finds earlier ones. Used by one thread."""

    def __init__(self, output: Path, report: Path, resume: bool) -> None:
        """Make the output folder and open the part file.

        Args:
            output: Output folder; made where it is missing.
            report: The finished report of an earlier run, where there is one.
            resume: Whether earlier cards are looked for; else they are forgotten.

        Raises:
            OSError: If the folder cannot be written to.
        """
        self._path = output / PART_NAME
        self._places: list[tuple[int, int]] = []  # offset and length of each card of this run, in order
        self._earlier: dict[bytes, tuple[BinaryIO, int, int]] = {}  # stem -> where its last card is
        self._report: BinaryIO | None = None
        output.mkdir(parents=True, exist_ok=True)
        # Not to append: a write that failed half-way is written over.
        self._file: BinaryIO = _open(self._path, os.O_RDWR | os.O_CREAT)
        if resume:
            with suppress(OSError):
                self._report = _open(report, os.O_RDONLY)
                self._index(self._report)
        else:
            self._file.truncate(0)
        self._end = self._index(self._file)
        self._file.truncate(self._end)

    def add(self, card: bytes) -> None:
        """Append a card.

        Args:
            card: One line, with its line feed.

        Raises:
            OSError: If it cannot be written whole; then it is not in the file.
        """
        written = 0
        while written < len(card):  # a disk that runs full takes a part first
            self._file.seek(self._end + written)
            written += self._file.write(card[written:])
        self._places.append((self._end, len(card)))
        self._end += len(card)

    def find(self, stem: bytes) -> bytes | None:
        """Look for a card that an earlier run wrote.

        Args:
            stem: Its `data-stem`, as it is in the card.

        Returns:
            The last one of that stem, or None.
        """
        if stem not in self._earlier:
            return None
        file, offset, length = self._earlier[stem]
        file.seek(offset)
        return file.read(length)

    def copy_to(self, file: IO[bytes]) -> None:
        """Write this run's cards, in the order in which they were added.

        Args:
            file: Where to.

        Raises:
            OSError: If they cannot be read or written.
        """
        for offset, length in self._places:
            self._file.seek(offset)
            file.write(self._file.read(length))

    def close(self, remove: bool) -> None:
        """Close the files.

        Args:
            remove: Whether the report has taken the part file's place.
        """
        for file in (self._file, self._report):
            if file is not None:
                file.close()
        if remove:
            with suppress(OSError):
                self._path.unlink()

    def _index(self, file: BinaryIO) -> int:
        """Note where whole cards are, and return where the last one ends."""
        end = offset = 0
        file.seek(0)
        with open(os.dup(file.fileno()), "rb") as lines:  # buffered, which `file` is not
            for line in lines:
                start = _START.match(line)
                if start and line.endswith(_END):
                    self._earlier[start[1]] = (file, offset, len(line))
                    end = offset + len(line)
                offset += len(line)
        return end


def forget_cards(output: Path) -> None:
    """Remove the cards of a killed run where a run has no report, because they hold photographs.

    Args:
        output: Output folder.

    Raises:
        OutputError: If they cannot be removed.
    """
    try:
        (output / PART_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(output / PART_NAME, error) from error


def _open(path: Path, flags: int) -> FileIO:
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return FileIO(descriptor, "r+" if flags & os.O_RDWR else "r")
