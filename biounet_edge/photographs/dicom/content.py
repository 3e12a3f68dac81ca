"""Which files are DICOM, and which photographs a DICOM file holds. Imports no DICOM library until it must.

A DICOM file is known by its content: 128 bytes of preamble and then "DICM". Its name says nothing: archives
write files without an extension, or with a UID for a name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from biounet_edge.errors import ImageError

_MAGIC_END = 132
_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})


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
        True where "DICM" is at byte 128.
    """
    return data[128:_MAGIC_END] == b"DICM"


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


def is_dicom_photograph(path: Path) -> bool:
    """Return whether a file found in a folder should be tried as a DICOM photograph.

    A DICOMDIR, a report, and what this package wrote are not. A damaged file, one of another kind of image
    and what has the extension of DICOM files are tried, so that the reason why they cannot be read is told.

    Args:
        path: Any file.

    Returns:
        False for what is left out without a word, as other files of a folder are.
    """
    if not is_dicom_file(path):
        return path.suffix.lower() in _SUFFIXES
    try:
        from biounet_edge.photographs.dicom.header import open_header

        with path.open("rb") as file:
            header = open_header(file)
    except (ImageError, OSError):
        return True
    return header.is_image and not header.is_own_result


def frames_of(path: str | Path) -> Iterator[Path | Frame]:
    """List the photographs in a file.

    Args:
        path: Any file.

    Yields:
        The path itself, or each frame of a DICOM file that holds several.
    """
    path, frames = Path(path), 1
    if is_dicom_file(path):
        try:
            from biounet_edge.photographs.dicom.header import open_header

            with path.open("rb") as file:
                frames = open_header(file).frames
        except (ImageError, OSError):
            pass  # reading the file reports it
    if frames == 1:
        yield path
    else:
        yield from (Frame(path, number) for number in range(1, frames + 1))
