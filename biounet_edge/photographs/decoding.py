"""From an image file to the pixels that the network sees: the only place where this is written.

Training (validation and test), export and prediction all call these functions, so that a model never meets
pixels that were prepared differently from those it was measured on.

A decoder is chosen for what it reports. JPEG: simplejpeg (`jpeg`). TIFF: zlib, libtiff and simplejpeg
(`tiff_samples`). AVIF and HEIC: Pillow and pillow-heif (`heif`). PNG, BMP and WebP: OpenCV, which returns
nothing where libpng or libwebp find an error; the checksums of a PNG are compared before, and the others have
none. Of intact 8-bit JPEG and TIFF files the pixels are those that OpenCV gives, bit for bit.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import ImageError
from biounet_edge.photographs.colour import to_srgb
from biounet_edge.photographs.depth import to_8_bits
from biounet_edge.photographs.dicom.reading import read_dicom
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.photographs.exif import upright
from biounet_edge.photographs.file import read_file
from biounet_edge.photographs.header import ImageHeader, check_complete, read_header
from biounet_edge.photographs.heif import decode_heif
from biounet_edge.photographs.jpeg import decode_jpeg
from biounet_edge.photographs.memory import MAX_PIXELS, room_for
from biounet_edge.photographs.tiff_samples import decode_tiff

SMALLEST_REDUCED_PX = 800
"""Short side below which no photograph is reduced while it is decoded. It is enough for an overlay, and it is
fixed, so that what the network sees does not depend on what is saved."""

_FACTORS = (8, 4, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """What was read of an image file."""

    pixels: NDArray[np.uint8]
    """RGB pixels, upright, shape (h, w, 3), uint8; fewer than the file has where `reduction` allows it."""
    size: tuple[int, int]
    """(H0, W0): height and width of the upright photograph in the file, in pixels."""
    notes: tuple[str, ...] = ()
    """What whoever reads the results should know of the file, such as that it has further pages."""


def read_input(source: str | Path | bytes | Frame, height: int, width: int) -> NDArray[np.uint8]:
    """Read an image file as the network sees it.

    Args:
        source: Path of the file, its bytes, or one frame of a DICOM file.
        height: Input height in pixels.
        width: Input width in pixels.

    Returns:
        RGB pixels, shape (height, width, 3), uint8.

    Raises:
        ImageError: If the image cannot be read whole or is too large; the message is the reason.
    """
    return resize_to_input(read_photograph(source, height, width).pixels, height, width)


def read_photograph(source: str | Path | bytes | Frame, height: int, width: int) -> Photograph:
    """Read an image file with as many pixels as the network and an overlay need.

    Args:
        source: Path of the file, its bytes, or one frame of a DICOM file.
        height: Input height in pixels.
        width: Input width in pixels.

    Returns:
        The photograph, for `resize_to_input` and `reduce_to`, and its size in the file.

    Raises:
        ImageError: If the image cannot be read whole or is too large; the message is the reason.
    """
    with opened_photograph(source, height, width) as photograph:
        return photograph


@contextmanager
def opened_photograph(
    source: str | Path | bytes | Frame, height: int, width: int, any_modality: bool = False
) -> Iterator[Photograph]:
    """Read an image file as `read_photograph` does, and let other large ones wait until the block ends.

    Args:
        source: Path of the file, its bytes, or one frame of a DICOM file.
        height: Input height in pixels.
        width: Input width in pixels.
        any_modality: Whether DICOM images are read that are no photographs of skin by their header.

    Yields:
        The photograph. Whoever keeps its pixels beyond the block holds memory that is not counted.

    Raises:
        ImageError: As `read_photograph`.
    """
    opened = _open(source, any_modality)
    if isinstance(opened, np.ndarray):
        yield Photograph(opened, (opened.shape[0], opened.shape[1]))
        return
    header = opened.header
    factor = reduction(header, height, width)
    size = (header.width, header.height) if opened.orientation >= 5 else (header.height, header.width)
    with _room_for(header, factor):
        yield Photograph(_decode(opened, factor), size, header.notes)


def reduction(header: ImageHeader, height: int, width: int) -> int:
    """Return how much smaller than stored a photograph is decoded; one rule for all who read files.

    A JPEG is stored as 8 x 8 blocks of frequencies, and leaving the highest out makes an image of a half, a
    quarter or an eighth of the size for a part of the work. Its short side stays at least as long as the
    longer side of the input and as SMALLEST_REDUCED_PX.

    Args:
        header: Format and stored size.
        height: Input height in pixels.
        width: Input width in pixels.

    Returns:
        8, 4, 2 or 1; both sides are divided by it and rounded up.
    """
    least = max(height, width, SMALLEST_REDUCED_PX)
    for factor in _FACTORS if header.format == "JPEG" else ():
        sides = -(-header.height // factor), -(-header.width // factor)
        # Part of the rule that models were measured with: equal sides once hid whether EXIF had turned it.
        square = sides[0] == sides[1] and header.height != header.width
        if min(sides) >= least and not square:
            return factor
    return 1


def decode(source: str | Path | bytes | Frame, *, any_modality: bool = False) -> NDArray[np.uint8]:
    """Read a JPEG, PNG, BMP, TIFF, WebP, AVIF, HEIC or DICOM image as upright 8-bit sRGB, every pixel of it.

    The EXIF orientation and an embedded colour profile are applied; grey and palette images become RGB, an
    alpha channel is dropped, values of more than 8 bits are scaled to 8. What is truncated or damaged is
    rejected as far as its format can tell.

    Args:
        source: Path of the file, its bytes, or one frame of a DICOM file.
        any_modality: Whether DICOM images are read that are no photographs of skin by their header.

    Returns:
        RGB pixels, shape (H0, W0, 3), uint8.

    Raises:
        ImageError: If the image cannot be read whole or is too large; the message is the reason.
    """
    opened = _open(source, any_modality)
    if isinstance(opened, np.ndarray):
        return opened
    with _room_for(opened.header, 1):
        return _decode(opened, 1)


def resize_to_input(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretch the whole photograph to the network's input size (the resize rule "stretch-area").

    No crop and no padding: every pixel of the photograph counts, and a mask maps back by stretching alone.

    Args:
        image: RGB pixels, shape (H0, W0, 3), uint8.
        height: Input height in pixels.
        width: Input width in pixels.

    Returns:
        RGB pixels, shape (height, width, 3), uint8.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def reduce_to(image: NDArray[np.uint8], longer_side_px: int) -> NDArray[np.uint8]:
    """Make a photograph smaller for looking at; one that is small enough already is returned as it is.

    Args:
        image: RGB pixels, shape (H0, W0, 3), uint8.
        longer_side_px: Largest height and width of the result in pixels.

    Returns:
        RGB pixels of the same aspect, uint8.
    """
    height, width = image.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """An image file that is worth decoding."""

    data: bytes
    header: ImageHeader
    orientation: int
    """EXIF orientation that is applied; inside DICOM none is."""
    profile: bytes | None
    """ICC profile that is applied; inside DICOM none is."""


def _open(source: str | Path | bytes | Frame, any_modality: bool) -> _Encoded | NDArray[np.uint8]:
    """Read a file once; of DICOM, what is no ordinary JPEG is decoded already."""
    content = source if isinstance(source, bytes | Frame) else read_file(Path(source))
    dicom = read_dicom(content, MAX_PIXELS, any_modality)
    if isinstance(dicom, np.ndarray):
        return dicom
    data = dicom
    if data is None:
        assert isinstance(content, bytes), "a frame is always of a DICOM file"
        data = content
    header = read_header(data)
    if header.height * header.width > MAX_PIXELS:
        raise ImageError(
            f"the image is too large: {header.width} x {header.height} pixels are "
            f"{header.height * header.width / 1e6:,.0f} megapixels, at most {MAX_PIXELS / 1e6:,.0f} are read"
        )
    check_complete(header)
    if dicom is not None:
        return _Encoded(data, header, 1, None)
    return _Encoded(data, header, header.orientation, header.profile)


def _room_for(header: ImageHeader, factor: int) -> AbstractContextManager[None]:
    return room_for(header.needed_bytes(factor), f"its {header.width:,} x {header.height:,} pixels")


def _decode(file: _Encoded, factor: int) -> NDArray[np.uint8]:
    """Decode by the library of the format, and turn upright."""
    header = file.header
    if header.format == "JPEG":
        pixels = decode_jpeg(file.data, (header.height, header.width), factor)
    elif header.page is not None:
        pixels = decode_tiff(file.data, header.page)
    elif header.format in ("HEIC", "AVIF"):
        pixels = decode_heif(file.data)
    else:
        pixels = _decode_by_opencv(file.data, header)
    expected = -(-header.height // factor), -(-header.width // factor)
    if pixels.shape[:2] != expected:
        raise ImageError(
            f"the {header.format} image is damaged: its header says {header.width} x {header.height} pixels, "
            f"and {pixels.shape[1]} x {pixels.shape[0]} were decoded"
        )
    return np.ascontiguousarray(upright(to_srgb(pixels, file.profile), file.orientation))


def _decode_by_opencv(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    if header.bits == 16:
        flags |= cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise ImageError(f"the {header.format} image cannot be decoded: {error.err or error}") from error
    if image is None:
        raise ImageError(f"the {header.format} image is damaged, or of a kind that cannot be decoded")
    return to_8_bits(image, 16 if image.dtype == np.uint16 else 8)
