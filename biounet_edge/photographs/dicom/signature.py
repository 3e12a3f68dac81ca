"""Which files are DICOM, by their first bytes, and what one frame is called.

A DICOM file is known by its content: 128 bytes of preamble and then "DICM", which some programs leave out.
Its name says nothing: archives write files without an extension, or with a UID for a name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_MAGIC_END = 132
# PS3.10, section 7.1: the group of the file's own attributes, always in explicit VR little endian
_FIRST_ELEMENT = re.compile(rb"\x02\0[\0-\x10]\0(UL|OB|UI)")


@dataclass(frozen=True, slots=True, init=False)
class Frame:
    """One frame of a multi-frame DICOM file; a source for `Predictor` like any path."""

    path: Path
    """The DICOM file."""
    number: int
    """Frame number as DICOM counts, from 1."""

    def __init__(self, path: str | Path, number: int) -> None:
        """Name the frame; nothing is read.

        Args:
            path: The DICOM file.
            number: Frame number from 1.
        """
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "number", number)

    def __str__(self) -> str:
        return f"{self.path}#{self.number}"


def is_dicom(data: bytes) -> bool:
    """Return whether bytes are those of a DICOM file.

    Args:
        data: The file's bytes, or its first 132.

    Returns:
        True where "DICM" is at byte 128, or the attributes of a DICOM file begin at once.
    """
    return data[128:_MAGIC_END] == b"DICM" or _FIRST_ELEMENT.match(data) is not None


def start_of_elements(data: bytes) -> int:
    """Find where the attributes of a DICOM file begin.

    Args:
        data: The file's bytes, or its first 132.

    Returns:
        132, or 0 where the file lacks what comes before them.
    """
    return _MAGIC_END if data[128:_MAGIC_END] == b"DICM" else 0


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is a DICOM file, by its first 132 bytes.

    Args:
        path: Any file.

    Returns:
        True if it is; False also where it cannot be read, which is for its reader to report.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(_MAGIC_END))
    except OSError:
        return False
