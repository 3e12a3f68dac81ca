import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import decode, read_photograph
from biounet_edge.photographs.header import read_header

from .image_files import ORIENTED, encode

CODES = {"none": 1, "LZW": 5, "deflate": 8, "PackBits": 32773, "JPEG 2000": 34712}


def directory(tags: dict[int, tuple[int, list[int]]], start: int, order: str = "<", then: int = 0) -> bytes:
    """A directory for byte `start` of a file, with the values that do not fit behind it."""
    codes = {1: "B", 3: "H", 4: "I"}
    entries, blocks, free = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        place = content.ljust(4, b"\0")
        if len(content) > 4:
            place, content = struct.pack(order + "I", free), content + b"\0" * (len(content) % 2)
            blocks, free = blocks + content, free + len(content)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + place
    return struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", then) + blocks


def page(
    pixels: np.ndarray, start: int = 8, *, tile: int = 0, compression: str = "deflate", order: str = "<",
    then: int = 0, **tags: tuple[int, list[int]],
) -> bytes:  # fmt: skip
    """The segments of an image, deflated or plain, and then its directory; of a file from byte `start` on."""
    height, width, samples = pixels.shape
    bits = pixels.dtype.itemsize * 8
    pixels = pixels.astype(pixels.dtype.newbyteorder(order))
    if tile:
        padded = np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)))
        blocks = padded.reshape(-(-height // tile), tile, -1, tile, samples).transpose(0, 2, 1, 3, 4)
        parts = [block.tobytes() for row in blocks for block in row]
    else:
        parts = [pixels[row : row + 32].tobytes() for row in range(0, height, 32)]
    if compression == "deflate":
        parts = [zlib.compress(part) for part in parts]
    lengths = [len(part) for part in parts]
    offsets = [start + sum(lengths[:i]) for i in range(len(parts))]
    content = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [CODES[compression]]),
        262: (3, [2 if samples > 2 else 1]), 277: (3, [samples]),
    } | {int(tag[1:]): value for tag, value in tags.items()}  # fmt: skip
    if tile:
        content |= {322: (4, [tile]), 323: (4, [tile]), 324: (4, offsets), 325: (4, lengths)}
    else:
        content |= {273: (4, offsets), 278: (4, [32]), 279: (4, lengths)}
    body = b"".join(parts)
    return body + b"\0" * (len(body) % 2) + directory(content, start + len(body) + len(body) % 2, order, then)


def one_page(pixels: np.ndarray, order: str = "<", **options: object) -> bytes:
    body = page(pixels, order=order, **options)
    start = 8 + directory_of(body, order)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start) + body


def directory_of(body: bytes, order: str = "<") -> int:
    """Where the directory of a page begins: its first tag is 256, or 254 where it has that."""
    first = next(tag for tag in (254, 256) if struct.pack(order + "HHI", tag, 4, 1) in body)
    return body.rindex(struct.pack(order + "HHI", first, 4, 1)) - 2


def saved(pixels: np.ndarray, compression: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", compression=compression, **options)
    return file.getvalue()


def damaged(data: bytes) -> bytes:
    """512 bytes in the middle that read as zeros."""
    middle = len(data) // 2
    return data[:middle] + bytes(512) + data[middle + 512 :]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_decode_reads_a_tiff_of_any_compression(compression, predictor, photograph):
    options = {} if compression in ("raw", "packbits") else {"tiffinfo": {317: predictor}}
    np.testing.assert_array_equal(decode(saved(photograph, compression, **options)), photograph)


@pytest.mark.parametrize("tile", [0, 16, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_decode_reads_strips_and_tiles_in_both_byte_orders(tile, order, photograph):
    np.testing.assert_array_equal(decode(one_page(photograph, tile=tile, order=order)), photograph)
    deep = photograph.astype(np.uint16) * 256 + 7
    np.testing.assert_array_equal(decode(one_page(deep, tile=tile, order=order)), photograph)


@pytest.mark.parametrize("colours", ["L", "RGB"])
def test_decode_of_a_tiff_with_jpeg_gives_what_opencv_gives(colours, photograph):
    pixels = np.asarray(Image.fromarray(photograph).convert(colours))
    data = saved(pixels, "jpeg")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode(data), expected)


def test_decode_of_a_tiff_gives_what_opencv_gives(shared_data):
    for path in sorted((shared_data / "real-samples" / "images").iterdir()):
        pixels = decode(path)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg"):
            data = saved(pixels, compression)
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            np.testing.assert_array_equal(decode(data), expected, err_msg=f"{path.name} {compression}")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_decode_refuses_a_tiff_with_zeroed_bytes(compression, photograph):
    large = cv2.resize(photograph, (480, 360), interpolation=cv2.INTER_NEAREST)
    with pytest.raises(ImageError, match=r"the (TIFF|JPEG) (image is truncated or|header is) damaged"):
        decode(damaged(saved(large, compression)))


def test_decode_refuses_a_tile_whose_checksum_alone_is_wrong(photograph):
    data = bytearray(one_page(photograph, tile=64))
    page_read = read_header(bytes(data)).page
    data[page_read.offsets[0] + page_read.lengths[0] - 1] ^= 1
    with pytest.raises(ImageError, match=r"damaged: .* incorrect data check"):
        decode(bytes(data))


def test_decode_refuses_a_tiff_with_a_missing_tile(photograph):
    data = bytearray(one_page(photograph, tile=64))
    page_read = read_header(bytes(data)).page
    place = data.index(struct.pack(f"<{len(page_read.lengths)}I", *page_read.lengths))
    data[place : place + 4] = bytes(4)
    with pytest.raises(ImageError, match="truncated or damaged: some of its tiles are missing"):
        decode(bytes(data))


def test_decode_refuses_a_tiff_that_names_a_tag_twice(photograph):
    data = saved(photograph, "raw")
    start = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, start)[0]
    first = data[start + 2 : start + 14]
    twice = struct.pack("<H", entries + 1) + first + data[start + 2 : start + 2 + 12 * entries] + b"\0" * 4
    with pytest.raises(ImageError, match="the TIFF image is damaged: its directory has tag 256 twice"):
        decode(data[:4] + struct.pack("<I", len(data)) + data[8:] + twice)


def test_decode_names_a_compression_that_is_not_read(photograph):
    with pytest.raises(ImageError, match="its compression is JPEG 2000; expected none, LZW, deflate"):
        decode(one_page(photograph, compression="JPEG 2000"))


def test_decode_refuses_tiles_that_are_far_larger_than_the_image(photograph):
    data = bytearray(one_page(photograph, tile=16))
    for tag in (322, 323):
        place = data.index(struct.pack("<HHII", tag, 4, 1, 16))
        data[place + 8 : place + 12] = struct.pack("<I", 60000)
    with pytest.raises(ImageError, match="its strips or tiles have no size that makes sense"):
        decode(bytes(data))


def test_decode_refuses_a_deflate_bomb(photograph):
    data = one_page(photograph[:32])
    bomb = zlib.compress(bytes(10_000_000))
    header = read_header(data)
    place = data.index(struct.pack("<HHII", 273, 4, 1, header.page.offsets[0]))
    changed = bytearray(data + bomb)
    changed[place + 8 : place + 12] = struct.pack("<I", len(data))
    place = changed.index(struct.pack("<HHII", 279, 4, 1, header.page.lengths[0]))
    changed[place + 8 : place + 12] = struct.pack("<I", len(bomb))
    with pytest.raises(ImageError, match="a deflate stream does not end where it should"):
        decode(bytes(changed))


def test_decode_of_directories_in_a_circle_ends():
    body = directory({256: (4, [1]), 257: (4, [1])}, 8, then=8)
    with pytest.raises(ImageError, match="its directories lead in a circle, or are too many"):
        decode(b"II*\0" + struct.pack("<I", 8) + body)


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_decode_turns_a_tiff_by_an_orientation_of_any_type(kind, orientation, photograph):
    data = one_page(photograph, t274=(kind, [orientation]))
    np.testing.assert_array_equal(decode(data), ORIENTED[orientation](photograph))


def test_decode_reads_the_largest_image_and_no_thumbnail(photograph):
    small = np.ascontiguousarray(photograph[::8, ::8])
    first = page(small, 8, t254=(4, [1]))
    start = directory_of(first)
    second = page(photograph, 8 + len(first))
    link = start + 2 + 12 * struct.unpack_from("<H", first, start)[0]
    to = 8 + len(first) + directory_of(second)
    data = b"II*\0" + struct.pack("<I", 8 + start) + first[:link] + struct.pack("<I", to) + first[link + 4 :]
    np.testing.assert_array_equal(decode(data + second), photograph)


def test_decode_refuses_raw_camera_data_and_shows_no_thumbnail(photograph):
    raw = np.repeat(np.repeat(photograph[..., :1], 2, axis=0), 2, axis=1)
    below = page(raw, 8, t262=(3, [32803]))
    start = 8 + len(below)
    thumbnail = page(photograph, start, t254=(4, [1]), t330=(4, [8 + directory_of(below)]))
    data = b"II*\0" + struct.pack("<I", start + directory_of(thumbnail)) + below + thumbnail
    with pytest.raises(ImageError, match="its colour model is raw camera data; save it as 8-bit RGB"):
        decode(data)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [10, 12])
def test_decode_of_a_file_whose_values_have_fewer_than_16_bits_is_not_dark(suffix, bits, photograph):
    deep = photograph.astype(np.uint16) << (bits - 8)
    deep[0, 0] = (1 << bits) - 1
    expected = photograph.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(decode(encode(suffix, deep)), expected)


def test_decode_believes_a_tiff_that_says_how_many_bits_are_used(photograph):
    dim = photograph.astype(np.uint16) * 4  # of 14 bits, an exposure of a sixteenth
    data = one_page(dim, t341=(3, [16383] * 3))
    np.testing.assert_array_equal(decode(data), (dim >> 6).astype(np.uint8))


def test_decode_refuses_packbits_data_that_read_as_zeros(photograph):
    large = cv2.resize(photograph, (480, 360), interpolation=cv2.INTER_NEAREST)
    data = saved(large, "packbits")
    with pytest.raises(ImageError, match=r"damaged: (some of its strips read as zeros|its PackBits data)"):
        decode(data[:20000] + bytes(4096) + data[24096:])
    flat = np.zeros((360, 480, 3), np.uint8)
    np.testing.assert_array_equal(decode(saved(flat, "packbits")), flat)


@pytest.mark.parametrize(("others", "notes"), [(0, ()), (1, "1 further page"), (2, "2 further pages")])
def test_further_pages_are_mentioned_and_thumbnails_are_not(photograph, others, notes):
    pages = [Image.fromarray(photograph), *[Image.fromarray(photograph[:50])] * others]
    thumbnail = Image.fromarray(photograph[:20])
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}  # NewSubfileType: a reduced image
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=[*pages[1:], thumbnail])
    expected = (f"{notes} of the TIFF file not read",) if notes else ()
    assert read_photograph(file.getvalue(), 128, 128).notes == expected
