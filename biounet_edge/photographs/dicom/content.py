"""Which files are DICOM, and which photographs a DICOM file holds. Imports no DICOM library until it must.

A DICOM file is known by its content: 128 bytes of preamble and then "DICM", which some programs leave out.
Its name says nothing: archives write files without an extension, or with a UID for a name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biounet_edge.category import Category
from biounet_edge.errors import ImageError

if TYPE_CHECKING:
    from biounet_edge.photographs.dicom.header import DicomHeader

_MAGIC_END = 132
_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})
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


def left_out_as(path: Path) -> str | None:
    """Say what a file found in a folder is, if it is no image that a diagnosis could be asked of.

    Such are a DICOMDIR, a report, and what this package wrote. Images of every other kind are tried, so that
    the reason why one has no diagnosis is told, and so is a damaged file and what has the extension of DICOM
    files.

    Args:
        path: Any file.

    Returns:
        The kind of DICOM object; "" for a file that is not DICOM; None for what is tried.
    """
    if not is_dicom_file(path):
        return None if path.suffix.lower() in _SUFFIXES else ""
    header = _header(path)
    if header is None:
        return None
    if header.is_own_result:
        return header.left_out_for
    return None if header.is_image else header.kind


def frames_of(path: str | Path, *, any_modality: bool = False) -> Iterator[Path | Frame]:
    """List the photographs in a file.

    Args:
        path: Any file.
        any_modality: Whether other images than photographs of skin are read.

    Yields:
        The path itself, or each frame of a DICOM file that holds several. What is refused as a whole is one
        source, however many frames it has.
    """
    yield from contents_of(Path(path), any_modality)[0]


def contents_of(path: Path, any_modality: bool) -> tuple[list[Path | Frame], str | None]:
    """List the photographs in a file, as `frames_of`, and say what rules it out.

    Args:
        path: Any file.
        any_modality: Whether other images than photographs of skin are read.

    Returns:
        The sources, and the attribute by which it is no photograph of skin, such as "Modality CR"; None for
        every other file.
    """
    header = _header(path)
    if header is None:
        return [path], None
    from biounet_edge.photographs.decoding import MAX_PIXELS
    from biounet_edge.photographs.dicom.header import check_photograph

    try:
        check_photograph(header, MAX_PIXELS, any_modality)
    except ImageError as error:  # reading the file reports it
        return [path], header.left_out_for if error.category is Category.SKIPPED else None
    if header.frames == 1:
        return [path], None
    return [Frame(path, number) for number in range(1, header.frames + 1)], None


def _header(path: Path) -> "DicomHeader | None":
    """Read the header of a DICOM file; None for any other file and a damaged one, which reading reports."""
    if not is_dicom_file(path):
        return None
    try:
        from biounet_edge.photographs.dicom.header import open_header

        with path.open("rb") as file:
            return open_header(file)
    except (ImageError, OSError):
        return None
