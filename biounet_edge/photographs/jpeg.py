"""JPEG files: markers as libjpeg reads them, and strict decoding. ITU-T T.81, annex B.

simplejpeg decodes, because it is the one library that reports what libjpeg-turbo only warns of: data that end
early, codes that do not exist, bytes between segments. OpenCV fills what is missing with grey and says
nothing. Both contain libjpeg-turbo with its defaults, and an intact file gives the same pixels bit for bit.
"""

import re
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from biounet_edge.errors import ImageError

MAX_SCANS = 100
"""Most scans of a JPEG that are decoded. Encoders write about ten; thousands of empty ones keep a decoder
busy for hours, because each passes over all pixels."""

# No stuffed zero and no fill byte, and none of those without a length: TEM, RST0 to RST7, SOI.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class JpegMarkers:
    """What the segments of a JPEG hold beside the pixels."""

    scans: int
    """Number of scans."""
    is_whole: bool
    """Whether there is a scan, and an end marker after it."""
    exif: bytes | None
    """Content of the first EXIF segment."""
    profile: bytes | None
    """The ICC profile, put together from its segments."""


def read_markers(data: bytes) -> JpegMarkers:
    """Walk over all segments, each where libjpeg would find it.

    After a segment libjpeg takes the next FF that is followed by neither 00 nor FF for a marker, whether it
    is decoding a scan or skipping what it does not know. TEM and restart markers have no length.

    Args:
        data: A file that begins with SOI.

    Returns:
        What was found up to the end marker, or up to where the file ends.
    """
    scans, exif, position = 0, None, 2
    parts: dict[int, bytes] = {}
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = found[0][1], found.end()
        if marker == _EOI or position + 2 > len(data):
            return JpegMarkers(scans, marker == _EOI and scans > 0, exif, _joined(parts))
        end = position + max(2, struct.unpack_from(">H", data, position)[0])
        if marker == _SOS:
            scans += 1
        elif marker == _APP1 and exif is None and data.startswith(_EXIF, position + 2):
            exif = data[position + 2 + len(_EXIF) : end]
        elif marker == _APP2 and data.startswith(_ICC, position + 2) and end >= position + 16:
            parts.setdefault(data[position + 14], data[position + 16 : end])  # number and count, then content
        position = end
    return JpegMarkers(scans, False, exif, _joined(parts))


def read_size(data: bytes) -> tuple[int, int]:
    """Return the size that libjpeg-turbo finds.

    Args:
        data: The file's bytes.

    Returns:
        (height, width) in pixels as stored.

    Raises:
        ImageError: If its header is damaged or of a kind that libjpeg-turbo does not decode.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise ImageError(f"the JPEG header is damaged or cannot be read: {_reason(error)}") from error
    return height, width


def decode_jpeg(
    data: bytes, size: tuple[int, int], factor: int = 1, colours: str = "RGB"
) -> NDArray[np.uint8]:
    """Decode a JPEG as stored; whatever libjpeg-turbo reports rejects it.

    Args:
        data: The file's bytes.
        size: (height, width) that `read_size` has found.
        factor: 1, 2, 4 or 8: how much smaller the result is, rounded up.
        colours: "RGB", or "GRAY" for one channel.

    Returns:
        Pixels, shape (ceil(height / factor), ceil(width / factor), 3), uint8; one channel of "GRAY".

    Raises:
        ImageError: If the data are damaged or end early, or are of another size.
    """
    height, width = -(-size[0] // factor), -(-size[1] // factor)
    least = {"min_height": height, "min_width": width} if factor > 1 else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, strict=True, **least)
    except ValueError as error:
        if "memory" in str(error):
            raise MemoryError from error
        raise ImageError(f"the JPEG image is truncated or damaged: {_reason(error)}") from error
    if pixels.shape[:2] != (height, width):
        raise ImageError(
            f"the JPEG image is damaged: its header says {width} x {height} pixels at this scale, and "
            f"{pixels.shape[1]} x {pixels.shape[0]} were decoded"
        )
    return pixels


def _joined(parts: dict[int, bytes]) -> bytes | None:
    return b"".join(parts[number] for number in sorted(parts)) or None


def _reason(error: ValueError) -> str:
    """Return what libjpeg-turbo reports: numbers and fixed words, nothing of the content."""
    return " ".join(str(error).split()) or "libjpeg-turbo gives no reason"
