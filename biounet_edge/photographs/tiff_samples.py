"""From the strips or tiles of a TIFF to RGB pixels, strictly: each must hold all that its page needs.

Three libraries decompress, each the one that reports damage. zlib checks the sum at the end of each deflate
stream, which libtiff leaves unread where a tile is full. libtiff, through Pillow, undoes LZW and PackBits: it
gets a directory written here that describes plain bytes, so that nothing but a size known beforehand is
decoded. simplejpeg decodes JPEG. OpenCV's libtiff reports none of this and leaves the rest black.
"""

import ctypes
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, _imaging

from biounet_edge.errors import ImageError
from biounet_edge.photographs.depth import to_8_bits
from biounet_edge.photographs.jpeg import decode_jpeg, read_size
from biounet_edge.photographs.tiff import TiffPage

_ROWS = 64  # that stay in a processor's cache
_LIBTIFF = {"LZW": 5, "PackBits": 32773}

_Samples = NDArray[np.unsignedinteger[Any]]
"""uint8, or uint16 for more than 8 bits."""


def silence_libtiff() -> None:
    """Keep the libtiff that Pillow contains from writing to stderr: its errors are the reason of a failure.

    For the whole process, so it is up to commands and not done by itself.
    """
    with suppress(AttributeError, OSError):  # where it is no library of its own, it cannot be reached
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def decode_tiff(data: bytes, page: TiffPage) -> NDArray[np.uint8]:
    """Decode one page as stored.

    Args:
        data: The file's bytes.
        page: From `read_page`.

    Returns:
        RGB pixels, shape (height, width, 3), uint8.

    Raises:
        ImageError: If a strip or tile is damaged.
    """
    if page.compression == "JPEG":
        samples: _Samples = _jpeg_samples(data, page)
    else:
        planes = [_plane(data, page, plane) for plane in range(page.samples if page.planar else 1)]
        samples = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)  # (H0, W0, samples)
    return np.ascontiguousarray(_to_rgb(samples, page))


def _to_rgb(samples: _Samples, page: TiffPage) -> NDArray[np.uint8]:
    if page.colours == "palette":
        size = 1 << page.bits
        if len(page.palette) != 3 * size:
            raise ImageError(
                f"the TIFF image is damaged: its palette needs {3 * size:,} values and has "
                f"{len(page.palette):,}"
            )
        table = np.array(page.palette, np.uint16).reshape(3, size).T  # (size, 3)
        shift = 8 if table.max() > 255 else 0  # some write 8 bits
        return (table >> shift).astype(np.uint8)[samples[..., 0]]
    if page.colours in ("RGB", "YCbCr"):
        return to_8_bits(samples[..., :3], page.bits, page.used_bits)
    grey = to_8_bits(samples[..., :1], page.bits, page.used_bits)
    if page.colours == "white is zero":
        grey = 255 - grey
    return np.repeat(grey, 3, axis=2)


def _plane(data: bytes, page: TiffPage, plane: int) -> _Samples:
    """Return the samples of a whole page, or of one of its planes, shape (H0, W0, samples)."""
    rows, columns = page.grid
    height, width = page.segment
    channels = 1 if page.planar else page.samples
    result = np.empty((page.height, page.width, channels), np.uint8 if page.bits <= 8 else np.uint16)
    row_bytes = (width * channels * page.bits + 7) // 8
    for (row, column), content in zip(
        np.ndindex(rows, columns), _contents(data, page, plane, row_bytes), strict=True
    ):
        part = result[row * height : (row + 1) * height, column * width : (column + 1) * width]
        there = content[: part.shape[0] * row_bytes].reshape(part.shape[0], row_bytes)
        samples = _unpacked(there, page, width * channels).reshape(part.shape[0], width, channels)
        if page.predictor and page.tiled:
            samples = samples.copy()
            _sum_up(samples)
        part[:] = samples[:, : part.shape[1]]
    if page.predictor and not page.tiled:  # all strips at once: they may have a row each
        for start in range(0, page.height, _ROWS):
            _sum_up(result[start : start + _ROWS])
    return result


def _contents(data: bytes, page: TiffPage, plane: int, row_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the decompressed bytes of each strip or tile; the last strip may have fewer rows."""
    rows, columns = page.grid
    numbers = range(plane * rows * columns, (plane + 1) * rows * columns)
    if page.compression in _LIBTIFF:
        yield from _by_libtiff(data, page, numbers, row_bytes)
        return
    height = page.segment[0]
    for number in numbers:
        row = (number - numbers.start) // columns
        needed = (height if page.tiled else min(height, page.height - row * height)) * row_bytes
        content = memoryview(data)[page.offsets[number] : page.offsets[number] + page.lengths[number]]
        if page.compression == "deflate":
            content = memoryview(_inflated(content, height * row_bytes))
        if len(content) < needed:
            raise ImageError(
                f"the TIFF image is truncated or damaged: one of its strips or tiles needs {needed:,} bytes "
                f"and has {len(content):,}"
            )
        yield np.frombuffer(content, np.uint8)


def _inflated(content: memoryview, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(content, most)
        if not stream.eof:  # the checksum is still to come
            stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise ImageError(f"the TIFF image is truncated or damaged: {error}") from error
    if not stream.eof:
        raise ImageError(
            "the TIFF image is truncated or damaged: a deflate stream does not end where it should"
        )
    return result


def _by_libtiff(data: bytes, page: TiffPage, numbers: range, row_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """Let libtiff decompress a plane as a grey image whose pixels are the bytes."""
    rows, columns = page.grid
    height = page.segment[0]
    size = (rows * height if page.tiled else page.height, columns * row_bytes)
    content = _directory_for_libtiff(data, page, numbers, size, row_bytes)
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(content)) as image:
            if image.mode != "L" or image.size != size[::-1]:
                raise ImageError("the TIFF image is damaged: it is not decompressed to the size that it says")
            plane = np.frombuffer(image.tobytes(), np.uint8).reshape(size)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ImageError(
            f"the TIFF image is truncated or damaged: its {page.compression} data cannot be decompressed"
        ) from error
    for row in range(rows):
        for column in range(columns):
            part = plane[row * height : (row + 1) * height, column * row_bytes : (column + 1) * row_bytes]
            yield np.ascontiguousarray(part).reshape(-1)


def _directory_for_libtiff(
    data: bytes, page: TiffPage, numbers: range, size: tuple[int, int], row_bytes: int
) -> bytes:
    """Write a directory of our own behind the file's bytes, little-endian, and point the header at it."""
    count = len(numbers)
    tags = {
        256: (4, size[1]), 257: (4, size[0]), 258: (3, 8), 259: (3, _LIBTIFF[page.compression]), 262: (3, 1),
        277: (3, 1), 284: (3, 1), 339: (3, 1),
    }  # fmt: skip
    if page.tiled:
        tags |= {322: (4, row_bytes), 323: (4, page.segment[0])}
    else:
        tags |= {278: (4, page.segment[0])}
    start = len(data) + len(data) % 2
    arrays = {324 if page.tiled else 273: page.offsets, 325 if page.tiled else 279: page.lengths}
    directory = start + 8 * count
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()]
    blocks = []
    for i, (tag, numbers_of_tag) in enumerate(arrays.items()):
        values = numbers_of_tag[numbers.start : numbers.stop]
        blocks.append(struct.pack(f"<{count}I", *values))
        place = values[0] if count == 1 else start + 4 * count * i
        entries.append(struct.pack("<HHII", tag, 4, count, place))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    return b"".join([
        b"II*\0", struct.pack("<I", directory), memoryview(data)[8:], b"\0" * (len(data) % 2), *blocks,
        struct.pack("<H", len(entries)), *entries, b"\0" * 4,
    ])  # fmt: skip


def _unpacked(content: NDArray[np.uint8], page: TiffPage, count: int) -> _Samples:
    """Return `count` samples of each row, shape (rows, count)."""
    if page.bits == 8:
        return content
    if page.bits == 16:
        return content.view(f"{page.byte_order}u2").astype(np.uint16)
    bits = np.unpackbits(content, axis=1)[:, : count * page.bits].reshape(len(content), count, page.bits)
    weights = (1 << np.arange(page.bits - 1, -1, -1)).astype(np.uint16)
    samples = np.asarray(bits @ weights, np.uint16)
    return samples.astype(np.uint8) if page.bits < 8 else samples


def _sum_up(samples: _Samples) -> None:
    """Add up differences along each row, in place; by doubling, three times as fast as one by one."""
    step = 1
    while step < samples.shape[1]:
        samples[:, step:] += samples[:, :-step].copy()
        step *= 2


def _jpeg_samples(data: bytes, page: TiffPage) -> NDArray[np.uint8]:
    rows, columns = page.grid
    height, width = page.segment
    channels = 1 if page.planar else page.samples
    if channels not in (1, 3) or page.planar:
        raise ImageError(
            f"the TIFF image is of a kind that is not read: JPEG with {page.samples} samples a pixel; "
            "save it as 8-bit RGB"
        )
    result = np.empty((page.height, page.width, channels), np.uint8)
    for number, (row, column) in enumerate(np.ndindex(rows, columns)):
        stream = _jpeg_stream(data[page.offsets[number] : page.offsets[number] + page.lengths[number]], page)
        part = result[row * height : (row + 1) * height, column * width : (column + 1) * width]
        size = read_size(stream)
        if size[1] != width or not part.shape[0] <= size[0] <= height:
            raise ImageError(
                f"the TIFF image is damaged: a strip or tile of {width} x {height} pixels holds a JPEG of "
                f"{size[1]} x {size[0]}"
            )
        part[:] = decode_jpeg(stream, size, colours="RGB" if channels == 3 else "GRAY")[
            : part.shape[0], : part.shape[1]
        ]
    return result


def _jpeg_stream(segment: bytes, page: TiffPage) -> bytes:
    """Put the shared tables in front, and a marker that says what TIFF says once: whether it is YCbCr."""
    adobe = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + (b"\1" if page.colours == "YCbCr" else b"\0")
    tables = page.jpeg_tables[2:-2] if page.jpeg_tables.endswith(b"\xff\xd9") else b""
    return b"\xff\xd8" + adobe + tables + segment[2:]
