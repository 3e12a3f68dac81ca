"""What an image file says about itself before it is decoded: format, size, and whether all of it is there.

A decoder may fill the missing part of a truncated image with grey and report nothing; a mask drawn on that
would look like a finding. And a few hundred bytes can claim gigapixels. Both are seen here, before decoding.
The size is the one that the decoder goes by: libjpeg-turbo's own of a JPEG, those of the libraries of HEIC
and AVIF; of PNG, BMP and WebP, numbers that are at one place of the file and nowhere else; of TIFF, what
`tiff` tells its decompressors.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from biounet_edge.errors import ImageError
from biounet_edge.photographs.exif import defined, orientation_of
from biounet_edge.photographs.heif import format_of, read_heif
from biounet_edge.photographs.jpeg import MAX_SCANS, read_markers, read_size
from biounet_edge.photographs.tiff import TiffPage, missing_part, read_page

MAX_PROFILE_BYTES = 16 * 1024**2
"""Longest colour profile that is read, in bytes; those of cameras and displays have a few kilobytes."""

HEAD_BYTES = 256
"""As many of a file's first bytes say what it is."""

Format = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP", "HEIC", "AVIF"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The part of a file's header that decides whether and how it is decoded."""

    format: Format
    """Container format, detected by the first bytes and never by the file's name."""
    height: int
    """Height in pixels as stored, before any EXIF rotation."""
    width: int
    """Width in pixels as stored, before any EXIF rotation."""
    orientation: int = 1
    """EXIF orientation, 1 to 8."""
    profile: bytes | None = field(default=None, repr=False)
    """The embedded ICC profile."""
    bits: int = 8
    """Bits per sample."""
    missing: str | None = None
    """Why the file is not whole; None where nothing is missing."""
    page: TiffPage | None = field(default=None, repr=False)
    """Of a TIFF, the page that is read."""
    scans: int = 1
    """Of a JPEG, the number of scans."""
    others: int = 0
    """Further photographs in the file, which are not read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads the results should know of the file."""
        if not self.others:
            return ()
        pages = "1 further page" if self.others == 1 else f"{self.others:,} further pages"
        return (f"{pages} of the {self.format} file not read",)

    def needed_bytes(self, reduction: int = 1) -> int:
        """Return about how much memory decoding takes beside the file; measured, and rounded up.

        Args:
            reduction: What the sides are divided by while decoding.

        Returns:
            Bytes.
        """
        pixels, factor = self.height * self.width, 6.0
        if self.format == "JPEG":  # the coefficients of several scans are held until the last
            factor = 3 / reduction**2 + (6 if self.scans > 1 else 0)
        elif self.page is not None:
            stored = self.page.samples * (1 if self.bits <= 8 else 4)
            factor = stored * (1 if self.page.compression in ("none", "deflate", "JPEG") else 3) + 3
        elif self.bits == 16:
            factor = 15.0
        elif self.format != "PNG" and self.format != "BMP":  # decoders that make planes first
            factor = 12.0
        return int(pixels * (factor + (3 / reduction**2 if self.orientation > 1 else 0)))


def read_header(data: bytes) -> ImageHeader:
    """Find an image's format and size.

    Args:
        data: The file's bytes.

    Returns:
        Format, size in pixels, and what else decides how it is decoded.

    Raises:
        ImageError: If the bytes are none of these formats, or the header is cut off or makes no sense.
    """
    if not data:
        raise ImageError("the file is empty")
    for form, magic, read in _FORMATS:
        if magic.match(data):
            try:
                header = read(data)
            except (struct.error, IndexError, OverflowError) as error:
                raise ImageError(f"the {form} image is truncated: its header is incomplete") from error
            if header.height < 1 or header.width < 1:
                raise ImageError(
                    f"the {form} header is damaged: it says {header.width} x {header.height} pixels"
                )
            return header
    if format_of(data[:HEAD_BYTES]):
        heif = read_heif(data)
        return ImageHeader(
            heif.format, heif.height, heif.width, heif.orientation, heif.profile, missing=heif.missing,
            others=heif.others,
        )  # fmt: skip
    check_known(data[:HEAD_BYTES])
    raise AssertionError("the loop above knows every format")


def check_known(head: bytes) -> None:
    """Reject a file that is no image by its first bytes.

    Args:
        head: Its first `HEAD_BYTES`.

    Raises:
        ImageError: If they are those of no format that is read; DICOM is not looked for.
    """
    if format_of(head) is None and not any(magic.match(head) for _, magic, _ in _FORMATS):
        # What it begins with may be text about a patient, and messages are kept.
        raise ImageError(
            "the file is not an image in a known format: expected JPEG, PNG, BMP, TIFF, WebP, AVIF, HEIC or "
            "DICOM"
        )


def check_complete(header: ImageHeader) -> None:
    """Reject an image whose file ends before its pixels do.

    Args:
        header: From `read_header`.

    Raises:
        ImageError: If the file is truncated, or a PNG checksum is wrong.
    """
    if header.missing:
        raise ImageError(f"the {header.format} image is truncated or damaged: {header.missing}")


def _short_of(expected: int, actual: int) -> str | None:
    return f"it needs {expected:,} bytes and the file has {actual:,}" if actual < expected else None


def _read_jpeg(data: bytes) -> ImageHeader:
    markers = read_markers(data)
    if not markers.scans:
        raise ImageError("the JPEG image is truncated: its header is incomplete")
    missing = None
    if not markers.is_whole:
        missing = "its end marker is missing"
    elif markers.scans > MAX_SCANS:
        missing = f"it has {markers.scans:,} scans, at most {MAX_SCANS} are read"
    orientation = orientation_of(markers.exif)
    return ImageHeader(
        "JPEG", *read_size(data), orientation, markers.profile, missing=missing, scans=markers.scans
    )


# PNG: ISO/IEC 15948, section 5


def _read_png(data: bytes) -> ImageHeader:
    length, kind, width, height, bits = struct.unpack_from(">I4sIIB", data, 8)
    if (length, kind) != (13, b"IHDR"):
        raise ImageError("the PNG header is damaged: it does not begin with the chunk IHDR")
    missing: str | None = "its end chunk is missing"
    exif = profile = None
    for position, kind, content in _png_chunks(data):
        end = position + 8 + len(content)
        checksum = zlib.crc32(content, zlib.crc32(kind))
        if end + 4 > len(data):
            break
        if checksum != struct.unpack_from(">I", data, end)[0]:
            missing = f"the checksum of its chunk at byte {position:,} is wrong"
            break
        if kind == b"IEND":
            missing = None
            break
        if kind == b"eXIf" and exif is None:
            exif = bytes(content)
        elif kind == b"iCCP" and profile is None:
            profile = _png_profile(bytes(content))
    return ImageHeader("PNG", height, width, orientation_of(exif), profile, bits, missing)


def _png_chunks(data: bytes) -> Iterator[tuple[int, bytes, memoryview]]:
    """Yield position, kind and content of each chunk."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield position, kind, memoryview(data)[position + 8 : position + 8 + length]
        position += 12 + length


def _png_profile(content: bytes) -> bytes:
    packed = content.partition(b"\0")[2]  # after the name and the method
    try:
        return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error as error:
        raise ImageError("the PNG image is damaged: its colour profile cannot be unpacked") from error


# BMP: Microsoft, BITMAPINFOHEADER


def _read_bmp(data: bytes) -> ImageHeader:
    old = struct.unpack_from("<I", data, 14)[0] == 12  # OS/2 header
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    height = abs(height)  # negative: rows from the top
    offset: int = struct.unpack_from("<I", data, 10)[0]
    bits: int = struct.unpack_from("<H", data, 24 if old else 28)[0]
    compression = 0 if old else struct.unpack_from("<I", data, 30)[0]
    end = offset
    if compression not in (1, 2):  # run-length coded: the size cannot be told from the header
        end += (width * bits + 31) // 32 * 4 * height
    return ImageHeader("BMP", height, width, missing=_short_of(end, len(data)))


# WebP: RFC 9649

_METADATA = frozenset({b"EXIF", b"ICCP", b"XMP "})

_WEBP_ZEROS = 2048
"""Zeros in a row that no encoder writes: an arithmetic coder has none, and without loss they would stand for
more than 20 megapixels of one colour."""


def _read_webp(data: bytes) -> ImageHeader:
    kind, orientation, profile = data[12:16], 1, None
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
        struct.unpack_from("<I", data, 26)  # raises where the header is cut off
        chunks = {kind: data[start:end] for kind, start, end in _riff_chunks(data) if kind in _METADATA}
        orientation, profile = orientation_of(_bare_exif(chunks.get(b"EXIF"))), chunks.get(b"ICCP")
    else:
        raise ImageError("the WebP header is damaged: its first chunk is of no known kind")
    missing = _short_of(struct.unpack_from("<I", data, 4)[0] + 8, len(data))
    if missing is None and any(
        data.find(bytes(_WEBP_ZEROS), start, end) >= 0
        for kind, start, end in _riff_chunks(data)
        if kind not in _METADATA
    ):
        missing = "a part of its data reads as zeros, as after a disk error"
    return ImageHeader("WebP", height, width, orientation, profile, missing=missing)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk's content; what follows the last is no part of the image."""
    position = 12
    end = min(len(data), struct.unpack_from("<I", data, 4)[0] + 8)
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == bytes(4):  # else a gap of gigabytes is millions of empty chunks
            raise ImageError(
                f"the WebP image is truncated or damaged: its chunk at byte {position:,} reads as zeros"
            )
        yield kind, position + 8, position + 8 + length
        position += 8 + length + length % 2


def _bare_exif(block: bytes | None) -> bytes | None:
    """Take off the prefix that belongs to JPEG and that some write into WebP, too."""
    return block.removeprefix(b"Exif\0\0") if block else None


def _read_tiff(data: bytes) -> ImageHeader:
    page = read_page(data)
    missing = missing_part(data, page)
    orientation = defined(page.orientation)
    return ImageHeader(
        "TIFF",
        page.height,
        page.width,
        orientation,
        page.profile,
        page.bits,
        missing,
        page,
        others=page.others,
    )


_FORMATS: tuple[tuple[Format, re.Pattern[bytes], Callable[[bytes], ImageHeader]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), _read_jpeg),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), _read_png),
    ("BMP", re.compile(rb"BM"), _read_bmp),
    ("TIFF", re.compile(rb"(II(\x2a|\x2b)\x00|MM\x00(\x2a|\x2b))"), _read_tiff),
    ("WebP", re.compile(rb"RIFF....WEBP", re.DOTALL), _read_webp),
)
