"""What an image file says about itself before it is decoded: format, size, and whether all of it is there.

A decoder may fill the missing part of a truncated image with grey and report nothing; a mask drawn on that
would look like a finding. And a few hundred bytes can claim gigapixels. Both are seen here, before decoding.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from biounet_edge.errors import ImageError

MAX_SCANS = 100
"""Most scans of a JPEG that are decoded. Encoders write about ten; thousands of empty ones keep a decoder
busy for hours, because each passes over all pixels."""

Format = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The part of a file's header that decides whether it is decoded."""

    format: Format
    """Container format, detected by the first bytes and never by the file's name."""
    height: int
    """Height in pixels as stored, before any EXIF rotation."""
    width: int
    """Width in pixels as stored, before any EXIF rotation."""


def read_header(data: bytes) -> ImageHeader:
    """Find an image's format and size.

    Args:
        data: The file's bytes.

    Returns:
        Format and size in pixels.

    Raises:
        ImageError: If the bytes are none of the five formats, or the header is cut off or makes no sense.
    """
    if not data:
        raise ImageError("the file is empty")
    for form, magic, size in _FORMATS:
        if magic.match(data):
            try:
                height, width = size(data)
            except (struct.error, IndexError, OverflowError) as error:
                raise ImageError(f"the {form} image is truncated: its header is incomplete") from error
            if height < 1 or width < 1:
                raise ImageError(f"the {form} header is damaged: it says {width} x {height} pixels")
            return ImageHeader(form, height, width)
    # What it begins with may be text about a patient, and messages are kept.
    raise ImageError(
        "the file is not an image in a known format: expected JPEG, PNG, BMP, TIFF, WebP or DICOM"
    )


def check_complete(data: bytes, header: ImageHeader) -> None:
    """Reject an image whose file ends before its pixels do.

    Args:
        data: The file's bytes.
        header: What `read_header` found in them.

    Raises:
        ImageError: If the file is truncated, or a PNG checksum is wrong.
    """
    try:
        missing = _damage(data, header)
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError(f"the {header.format} image is truncated: its header is incomplete") from error
    if missing:
        raise ImageError(f"the {header.format} image is truncated or damaged: {missing}")


def _damage(data: bytes, header: ImageHeader) -> str | None:
    match header.format:
        case "JPEG":
            return _jpeg_damage(data)
        case "PNG":
            return _png_damage(data)
        case "BMP":
            return _short_of(_bmp_end(data, header), len(data))
        case "WebP":
            return _short_of(struct.unpack_from("<I", data, 4)[0] + 8, len(data))
        case "TIFF":
            return _short_of(_tiff_end(data), len(data))


def _short_of(expected: int, actual: int) -> str | None:
    return f"it needs {expected:,} bytes and the file has {actual:,}" if actual < expected else None


# JPEG: ITU-T T.81, annex B

_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # no stuffed zero, restart marker or fill byte


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (marker, position of its length field) up to EOI, skipping the entropy-coded data."""
    position = 2
    while position + 2 <= len(data):
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        yield marker, position + 2
        if marker == 0xD9:
            return
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == 0xDA:
            found = _MARKER_AFTER_SCAN.search(data, position)
            if found is None:
                return
            position = found.start()


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, position in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF but DHT, JPG, DAC
            height, width = struct.unpack_from(">xxxHH", data, position)
            return height, width
    raise ImageError("the JPEG image is truncated: its header is incomplete")


def _jpeg_damage(data: bytes) -> str | None:
    try:
        markers = [marker for marker, _ in _jpeg_segments(data)]
    except struct.error:
        markers = []
    if 0xDA not in markers or markers[-1] != 0xD9:
        return "its end marker is missing"
    if (scans := markers.count(0xDA)) > MAX_SCANS:
        return f"it has {scans:,} scans, at most {MAX_SCANS} are read"
    return None


# PNG: ISO/IEC 15948, section 5


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _png_damage(data: bytes) -> str | None:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return f"the checksum of its chunk at byte {position:,} is wrong"
        if kind == b"IEND":
            return None
        position = end + 4
    return "its end chunk is missing"


# BMP: Microsoft, BITMAPINFOHEADER


def _bmp_size(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2 header
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)  # negative height: rows from the top
    return abs(height), width


def _bmp_end(data: bytes, header: ImageHeader) -> int:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    offset: int = struct.unpack_from("<I", data, 10)[0]
    bits: int = struct.unpack_from("<H", data, 24 if old else 28)[0]
    compression = 0 if old else struct.unpack_from("<I", data, 30)[0]
    if compression in (1, 2):  # run-length coded: the size cannot be told from the header
        return offset
    return offset + (header.width * bits + 31) // 32 * 4 * header.height


# WebP: RFC 9649


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
        struct.unpack_from("<I", data, 26)  # raises where the header is cut off
        return height, width
    raise ImageError("the WebP header is damaged: its first chunk is of no known kind")


# TIFF: TIFF 6.0 and BigTIFF; the first image of the file

_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_TAGS = frozenset({256, 257, 273, 279, 324, 325})  # width, height; where strips and tiles are, how long
_TIFF_VALUES = 1 << 22  # of one tag: more strips than rows, and more tiles than MAX_PIXELS has


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Read the tags that are needed of the first directory; any other may claim as much as it likes."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    pointer, count, entry_bytes, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    start = struct.unpack_from(order + pointer, data, 8 if big else 4)[0]
    entries = struct.unpack_from(order + count, data, start)[0]
    start += struct.calcsize(count)
    tags: dict[int, tuple[int, ...]] = {}
    for position in range(start, start + min(entries, 4096) * entry_bytes, entry_bytes):
        tag, kind, values = struct.unpack_from(order + "HH" + pointer, data, position)
        if tag not in _TIFF_TAGS or kind not in _TIFF_TYPES:
            continue
        code = f"{order}{values}{_TIFF_TYPES[kind]}"
        where = position + entry_bytes - inline
        if values > min(len(data), _TIFF_VALUES):
            raise IndexError(f"tag {tag} claims {values} values")
        if struct.calcsize(code) > inline:
            where = struct.unpack_from(order + pointer, data, where)[0]
        tags[tag] = struct.unpack_from(code, data, where)
    return tags


def _tiff_size(data: bytes) -> tuple[int, int]:
    tags = _tiff_tags(data)
    return tags.get(257, (0,))[0], tags.get(256, (0,))[0]


def _tiff_end(data: bytes) -> int:
    tags = _tiff_tags(data)
    offsets = tags.get(273) or tags.get(324) or ()  # strips or tiles
    lengths = tags.get(279) or tags.get(325) or ()
    return max((offset + length for offset, length in zip(offsets, lengths, strict=False)), default=0)


_FORMATS: tuple[tuple[Format, re.Pattern[bytes], Callable[[bytes], tuple[int, int]]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), _jpeg_size),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), _png_size),
    ("BMP", re.compile(rb"BM"), _bmp_size),
    ("TIFF", re.compile(rb"(II(\x2a|\x2b)\x00|MM\x00(\x2a|\x2b))"), _tiff_size),
    ("WebP", re.compile(rb"RIFF....WEBP", re.DOTALL), _webp_size),
)
