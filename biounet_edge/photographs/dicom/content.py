"""Which photographs a DICOM file holds, and which files hold none. Imports no DICOM library until it must."""

from collections.abc import Iterator
from pathlib import Path

from biounet_edge.errors import Category, ImageError
from biounet_edge.photographs.dicom.header import DicomHeader, check_photograph, open_header
from biounet_edge.photographs.dicom.signature import Frame, is_dicom_file
from biounet_edge.photographs.memory import MAX_PIXELS

_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})


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
    try:
        check_photograph(header, MAX_PIXELS, any_modality)
    except ImageError as error:  # reading the file reports it
        return [path], header.left_out_for if error.category is Category.SKIPPED else None
    if header.frames == 1:
        return [path], None
    return [Frame(path, number) for number in range(1, header.frames + 1)], None


def _header(path: Path) -> DicomHeader | None:
    """Read the header of a DICOM file; None for any other file and a damaged one, which reading reports."""
    if not is_dicom_file(path):
        return None
    try:
        with path.open("rb") as file:
            return open_header(file)
    except (ImageError, OSError):
        return None
