"""HEIC and AVIF files: ISO/IEC 23008-12, the containers of phones.

Pillow decodes AVIF. HEIC needs pillow-heif, the extra `heif`, because its decoder is under the LGPL. Both
raise where their libraries find an error; a coder without checksums finds few, so a sector of zeros is looked
for here.
"""

import io
import re
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, features

from biounet_edge.errors import ImageError
from biounet_edge.photographs.exif import orientation_of

BRANDS = re.compile(rb"....ftyp", re.DOTALL)
"""How a file begins that may be one of the two."""

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx"})
_AVIF = frozenset({b"avif", b"avis"})
_ZEROS = 4096  # in a row, that no coder writes

HeifFormat = Literal["HEIC", "AVIF"]


class HeifHeader(NamedTuple):
    """What a file says before its pixels are decoded."""

    format: HeifFormat
    """Kind of file."""
    height: int
    """Height in pixels as decoded."""
    width: int
    """Width in pixels as decoded."""
    orientation: int
    """What is still to be turned after decoding."""
    profile: bytes | None
    """The ICC profile."""
    missing: str | None
    """Why the file is not whole; None where nothing was found."""
    others: int
    """Further images in the file."""


def format_of(data: bytes) -> HeifFormat | None:
    """Tell the two kinds apart by their brands.

    Args:
        data: The file's bytes, or its first 64.

    Returns:
        The kind; None where it is neither, as of a video.
    """
    if not BRANDS.match(data):
        return None
    length = min(int.from_bytes(data[:4], "big"), 64)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, length, 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC else None


def read_heif(data: bytes) -> HeifHeader:
    """Let the decoder read its header.

    Args:
        data: A file of which `format_of` says what it is.

    Returns:
        Size in pixels, and what else decides how it is decoded.

    Raises:
        ImageError: If the file is damaged, or what decodes it is not installed.
    """
    kind = format_of(data)
    assert kind is not None, "the first bytes were looked at before"
    image, others = _opened(data, kind)
    width, height = image.size
    exif = image.info.get("exif") if kind == "AVIF" else None  # libheif turns by itself
    orientation = orientation_of(exif.removeprefix(b"Exif\0\0")) if exif else 1
    missing = "a part of its data reads as zeros, as after a disk error" if bytes(_ZEROS) in data else None
    return HeifHeader(kind, height, width, orientation, image.info.get("icc_profile"), missing, others)


def decode_heif(data: bytes) -> NDArray[np.uint8]:
    """Decode the primary image.

    Args:
        data: The file's bytes.

    Returns:
        Pixels as decoded, shape (height, width, 3), uint8.

    Raises:
        ImageError: If the data are damaged.
    """
    kind = format_of(data)
    assert kind is not None, "its header was read before"
    image, _ = _opened(data, kind)
    try:
        pixels = np.array(image)  # decoded here, and copied: what Pillow holds cannot be written to
    except (OSError, ValueError, RuntimeError, SyntaxError, EOFError) as error:
        raise ImageError(f"the {kind} image is truncated or damaged: it cannot be decoded") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3], dtype=np.uint8)


def _opened(data: bytes, kind: HeifFormat) -> tuple[Any, int]:
    """Return an image of Pillow or pillow-heif, not yet decoded, and how many others its file has."""
    try:
        if kind == "AVIF":
            if not features.check("avif"):
                raise ImageError(
                    "this is an AVIF image, and the installed Pillow cannot read it: update Pillow"
                )
            image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
            return image, image.n_frames - 1
        file = _pillow_heif().open_heif(data, convert_hdr_to_8bit=True)
        return file[file.primary_index], len(file) - 1
    except (OSError, ValueError, RuntimeError, SyntaxError, EOFError, IndexError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the {kind} image is truncated or damaged: its header cannot be read") from error


def _pillow_heif() -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            'this is an HEIC image, and what reads it is not installed: pip install "biounet-edge[heif]"'
        ) from error
    return pillow_heif
