"""The page of a TIFF that is read, and where its pixels are: TIFF 6.0, its supplements, and BigTIFF.

A file may hold thumbnails, further pages and raw camera data. The largest image is the photograph: it is
read, or the file is rejected, and a thumbnail never stands in for it. What is found here is all that is
believed: `tiff_samples` decompresses by these numbers and shows no library the file's own directory.

tifffile was tried in its place and is not strict enough: it leaves unreadable tags and directories out
without a word and some planes unfilled, and checking it took two thirds of these lines and another 80 MB.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from biounet_edge.errors import ImageError

MAX_PAGES = 1000
"""Most images that a file may hold, thumbnails included."""

_TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
_BYTES = frozenset({347, 34675})  # JPEGTables and the ICC profile are kept as bytes
_TAGS = _BYTES | {
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 281, 284, 317, 320, 322, 323, 324, 325, 330,
    338, 339, 341,
}  # fmt: skip
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
_OTHER_COMPRESSIONS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000",
    34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 6: "YCbCr"}
_OTHER_COLOURS = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 32803: "raw camera data", 34892: "raw camera data"}
_BITS = frozenset({1, 2, 4, 8, 10, 12, 14, 16})
_FULL_SCALES = {(1 << bits) - 1: bits for bits in (8, 10, 12, 14)}  # other values are those of one image
_LONGEST_ZEROS = 512  # in a row, that PackBits data are allowed; in practice two or three
_LARGEST_TILE = 1 << 22  # pixels that a tile may have in an image that is smaller

_Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One image of a TIFF; `missing_part` says whether its numbers fit into the file."""

    height: int
    """Height in pixels as stored."""
    width: int
    """Width in pixels as stored."""
    samples: int
    """Samples per pixel."""
    bits: int
    """Bits per sample in the file."""
    used_bits: int | None
    """Bits per sample that the file says are used; None where it says nothing."""
    byte_order: str
    """"<" or ">"."""
    compression: str
    """"none", "LZW", "deflate", "PackBits" or "JPEG"."""
    predictor: bool
    """Whether each sample is stored as its difference to the one before."""
    colours: str
    """"RGB", "YCbCr", "palette", "black is zero" or "white is zero"."""
    planar: bool
    """Whether each sample has a plane of its own."""
    tiled: bool
    """Tiles, or strips."""
    segment: tuple[int, int]
    """(height, width) of a tile or strip in pixels."""
    offsets: tuple[int, ...] = field(repr=False)
    """Where each tile or strip begins, in bytes."""
    lengths: tuple[int, ...] = field(repr=False)
    """How long each is, in bytes."""
    palette: tuple[int, ...] = field(default=(), repr=False)
    """Red of every index, then green, then blue; 16 bits each."""
    jpeg_tables: bytes = field(default=b"", repr=False)
    """Tables that the tiles or strips share."""
    profile: bytes | None = field(default=None, repr=False)
    """The ICC profile."""
    orientation: int = 1
    """As EXIF has it."""
    others: int = 0
    """Further photographs in the file, without thumbnails and masks."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles or strips."""
        return -(-self.height // self.segment[0]), -(-self.width // self.segment[1])


def read_page(data: bytes) -> TiffPage:
    """Find the largest image of a file.

    Args:
        data: The file's bytes.

    Returns:
        The page.

    Raises:
        ImageError: If it is of a kind that is not read, or contradicts itself.
        struct.error: If the directory is cut off.
    """
    pages = _Directories(data).pages or [({}, {})]
    sizes = [(tags.get(257, (0,))[0], tags.get(256, (0,))[0]) for tags, _ in pages]
    areas = [
        0 if tags.get(254, (0,))[0] & _MASK else height * width
        for (tags, _), (height, width) in zip(pages, sizes, strict=True)
    ]
    largest = areas.index(max(areas))
    tags, values = pages[largest]
    others = sum(
        area > 0 and not other.get(254, (0,))[0] & _REDUCED
        for i, ((other, _), area) in enumerate(zip(pages, areas, strict=True))
        if i != largest
    )
    height, width = sizes[largest]
    if height < 1 or width < 1:
        raise ImageError(f"the TIFF header is damaged: it says {width} x {height} pixels")
    return _page(data, tags, values, (height, width), others)


class _Directories:
    """The tags of every image in a file, read once each."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._big = struct.unpack_from(self._order + "H", data, 2)[0] == 43
        self._left = len(data) + 65536  # bytes of values: more than the file has are in the same place twice
        self._seen: set[int] = set()
        self.pages: list[tuple[_Tags, dict[int, bytes]]] = []
        first = struct.unpack_from(self._order + ("Q" if self._big else "I"), data, 8 if self._big else 4)[0]
        for tags, values in self._chain(first):
            self.pages.append((tags, values))
            for below in tags.get(330, ()):
                self.pages.extend(self._chain(below))

    def _chain(self, start: int) -> Iterator[tuple[_Tags, dict[int, bytes]]]:
        pointer, count, entry_bytes = ("Q", "Q", 20) if self._big else ("I", "H", 12)
        while start:
            if start in self._seen or len(self._seen) >= MAX_PAGES:
                raise ImageError(
                    "the TIFF image is damaged: its directories lead in a circle, or are too many"
                )
            self._seen.add(start)
            entries = struct.unpack_from(self._order + count, self._data, start)[0]
            start += struct.calcsize("=" + count)
            if entries > 4096:
                raise ImageError(f"the TIFF image is damaged: a directory claims {entries:,} tags")
            yield self._tags(start, entries, entry_bytes, pointer)
            start += entries * entry_bytes
            if start + struct.calcsize("=" + pointer) > len(self._data):  # nothing follows the last one
                return
            start = struct.unpack_from(self._order + pointer, self._data, start)[0]

    def _tags(
        self, start: int, entries: int, entry_bytes: int, pointer: str
    ) -> tuple[_Tags, dict[int, bytes]]:
        tags: _Tags = {}
        values: dict[int, bytes] = {}
        for position in range(start, start + entries * entry_bytes, entry_bytes):
            tag, kind, count = struct.unpack_from(self._order + "HH" + pointer, self._data, position)
            if tag not in _TAGS or kind not in _TYPES:
                continue
            if tag in tags or tag in values:  # which of the two counts, decoders do not agree on
                raise ImageError(f"the TIFF image is damaged: its directory has tag {tag} twice")
            size = count * struct.calcsize("=" + _TYPES[kind])
            self._left -= size
            if self._left < 0:
                raise ImageError("the TIFF image is damaged: its tags claim more bytes than the file has")
            inline = struct.calcsize("=" + pointer)
            where = position + entry_bytes - inline
            if size > inline:
                where = struct.unpack_from(self._order + pointer, self._data, where)[0]
            if tag in _BYTES:
                values[tag] = struct.unpack_from(f"{size}s", self._data, where)[0]
            elif count:
                tags[tag] = struct.unpack_from(f"{self._order}{count}{_TYPES[kind]}", self._data, where)
        return tags, values


def _page(data: bytes, tags: _Tags, values: dict[int, bytes], size: tuple[int, int], others: int) -> TiffPage:
    def one(tag: int, default: int) -> int:
        return tags.get(tag, (default,))[0]

    height, width = size
    samples = one(277, 1)
    bits = tags.get(258, (1,))
    tiled = 322 in tags
    segment = (one(323, 0), one(322, 0)) if tiled else (min(one(278, height), height), width)
    used = one(341, 0) or one(281, 0)  # SMaxSampleValue, MaxSampleValue
    _check_kind(tags, samples, bits)
    if min(segment) < 1 or (tiled and _padded(size, segment) > 4 * height * width + _LARGEST_TILE):
        raise ImageError("the TIFF image is damaged: its strips or tiles have no size that makes sense")
    return TiffPage(
        height=height,
        width=width,
        samples=samples,
        bits=bits[0],
        used_bits=_FULL_SCALES.get(used),
        byte_order="<" if data[:2] == b"II" else ">",
        compression=_COMPRESSIONS[one(259, 1)],
        predictor=one(317, 1) == 2,
        colours=_COLOURS[one(262, 1)],
        planar=samples > 1 and one(284, 1) == 2,
        tiled=tiled,
        segment=segment,
        offsets=tags.get(324 if tiled else 273, ()),
        lengths=tags.get(325 if tiled else 279, ()),
        palette=tags.get(320, ()),
        jpeg_tables=values.get(347, b""),
        profile=values.get(34675),
        orientation=one(274, 1),
        others=others,
    )


def _padded(size: tuple[int, int], segment: tuple[int, int]) -> int:
    """Return how many pixels the tiles have together: the last of a row reach over the image's border."""
    return math.prod(-(-side // part) * part for side, part in zip(size, segment, strict=True))


def _check_kind(tags: _Tags, samples: int, bits: tuple[int, ...]) -> None:
    """Reject what is not read, by name."""
    compression, colours = tags.get(259, (1,))[0], tags.get(262, (1,))[0]
    if colours not in _COLOURS or (colours == 6 and compression != 7):
        name = _OTHER_COLOURS.get(colours) or _COLOURS.get(colours) or f"number {colours}"
        raise ImageError(
            f"the TIFF image is of a kind that is not read: its colour model is {name}; save it as 8-bit RGB"
        )
    if compression not in _COMPRESSIONS:
        name = _OTHER_COMPRESSIONS.get(compression, f"number {compression}")
        raise ImageError(
            f"the TIFF image is of a kind that is not read: its compression is {name}; expected none, LZW, "
            "deflate, PackBits or JPEG"
        )
    needed = 3 if colours in (2, 6) else 1
    formats = set(tags.get(339, (1,)))
    deep = compression == 7 and bits[0] != 8
    if (
        samples < needed
        or samples > 16
        or set(bits) - {bits[0]}
        or bits[0] not in _BITS
        or formats != {1}
        or deep
    ):
        kind = "floating point" if 3 in formats else "integer"
        raise ImageError(
            f"the TIFF image is of a kind that is not read: it has {samples} samples a pixel of "
            f"{', '.join(map(str, sorted(set(bits))))} bits, {kind}; save it as 8-bit RGB"
        )
    if tags.get(317, (1,))[0] not in (1, 2) or tags.get(266, (1,))[0] != 1:
        raise ImageError(
            "the TIFF image is of a kind that is not read: its bits are in another order, or its predictor "
            "is not the horizontal one; save it as 8-bit RGB"
        )


def missing_part(data: bytes, page: TiffPage) -> str | None:
    """Say which strips or tiles are missing, or not inside of the file.

    Args:
        data: The file's bytes.
        page: From `read_page`.

    Returns:
        Why the page is not whole; None where it is.
    """
    rows, columns = page.grid
    expected = rows * columns * (page.samples if page.planar else 1)
    what = "tiles" if page.tiled else "strips"
    there = min(len(page.offsets), len(page.lengths))
    if there < expected:
        return f"it needs {expected:,} {what} and its directory has {there:,}"
    end = max(map(sum, zip(page.offsets[:expected], page.lengths[:expected], strict=True)))
    if end > len(data):
        return f"it needs {end:,} bytes and the file has {len(data):,}"
    if min(page.lengths[:expected]) < 1 or min(page.offsets[:expected]) < 8:
        return f"some of its {what} are missing"
    segments = zip(page.offsets[:expected], page.lengths[:expected], strict=True)
    if page.compression == "PackBits" and any(_is_zeroed(data, *segment) for segment in segments):
        return f"some of its {what} read as zeros, as after a disk error"
    return None


def _is_zeroed(data: bytes, offset: int, length: int) -> bool:
    """Whether PackBits data has zeros where an encoder has none: it writes a run as its length and a byte."""
    return data.find(bytes(min(length, _LONGEST_ZEROS)), offset, offset + length) >= 0
