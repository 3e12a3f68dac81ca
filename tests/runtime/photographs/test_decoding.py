import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import (
    MAX_PIXELS,
    decode,
    read_input,
    read_photograph,
    reduce_to,
    reduction,
    resize_to_input,
)
from biounet_edge.photographs.header import ImageHeader

LOSSLESS = [".png", ".bmp", ".tiff", ".webp"]
ORIENTED = {  # EXIF orientation -> stored pixels to upright pixels
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def encode(suffix: str, image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]  # OpenCV writes BGR
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []  # 101: lossless
    return cv2.imencode(suffix, np.ascontiguousarray(image), options)[1].tobytes()


def exif(orientation: int) -> bytes:
    """A TIFF header and a directory with one tag, 274."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + b"\0" * 4


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), *chunks, png_chunk(b"IEND", b"")])


def tiff(image: np.ndarray, orientation: int) -> bytes:
    """An uncompressed big-endian TIFF in one strip."""
    height, width = image.shape[:2]
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8 << 16), (259, 3, 1 << 16), (262, 3, 2 << 16),
        (273, 4, 8 + 2 + 11 * 12 + 4), (274, 3, orientation << 16), (277, 3, 3 << 16), (278, 4, height),
        (279, 4, image.size), (284, 3, 1 << 16),
    ]  # fmt: skip
    directory = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + directory + b"\0" * 4 + image.tobytes()


def with_orientation(form: str, image: np.ndarray, orientation: int) -> bytes:
    if form == "TIFF":
        return tiff(image, orientation)
    tag = exif(orientation)
    if form == "JPEG":
        data, segment = encode(".jpg", image), b"Exif\0\0" + tag
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    if form == "PNG":
        data = encode(".png", image)
        return data[:33] + png_chunk(b"eXIf", tag) + data[33:]
    height, width = image.shape[:2]
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + sizes + encode(".webp", image)[12:]
    body += b"EXIF" + struct.pack("<I", len(tag)) + tag
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_decode_returns_the_pixels_as_rgb(suffix, photograph):
    decoded = decode(encode(suffix, photograph))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, photograph)


def test_decode_reads_jpeg(photograph):
    difference = np.abs(decode(encode(".jpg", photograph)).astype(int) - photograph)
    assert difference.mean() < 4


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_decode_turns_the_image_upright(form, orientation, photograph):
    upright = decode(with_orientation(form, photograph, orientation))
    stored = decode(with_orientation(form, photograph, 1))
    np.testing.assert_array_equal(upright, ORIENTED[orientation](stored))


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
def test_decode_converts_grey(suffix, photograph):
    grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    decoded = decode(encode(suffix, grey)).astype(int)
    assert decoded.shape == photograph.shape
    assert np.abs(decoded - grey[..., np.newaxis]).max() <= (12 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".bmp"])
def test_decode_drops_alpha(suffix, photograph):
    opaque = np.full((*photograph.shape[:2], 1), 255, np.uint8)
    decoded = decode(encode(suffix, np.concatenate([photograph, opaque], axis=2)))
    np.testing.assert_array_equal(decoded, photograph)


def test_decode_expands_a_palette():
    palette = bytes([10, 20, 30, 200, 100, 50])
    rows = zlib.compress(b"\0\x00\x01\x00" + b"\0\x01\x01\x00")  # filter byte, then one index per pixel
    decoded = decode(png(3, 2, 8, 3, png_chunk(b"PLTE", palette), png_chunk(b"IDAT", rows)))
    first, second = [10, 20, 30], [200, 100, 50]
    np.testing.assert_array_equal(decoded, [[first, second, first], [second, second, first]])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_decode_scales_16_bit_values(suffix, channels):
    values = np.linspace(0, 65535, 64 * channels).astype(np.uint16).reshape(8, 8, channels).squeeze()
    decoded = decode(encode(suffix, values)).astype(float)
    assert np.abs(decoded - values.reshape(8, 8, channels) / 257).max() <= 1


def test_decode_reads_a_path_in_any_alphabet(tmp_path, photograph):
    path = tmp_path / "Läsion 病変 پوست.png"
    path.write_bytes(encode(".png", photograph))
    np.testing.assert_array_equal(decode(path), photograph)
    np.testing.assert_array_equal(decode(str(path)), photograph)


def test_decode_reads_a_single_pixel():
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    np.testing.assert_array_equal(decode(encode(".png", pixel)), pixel)


def huge(form: str) -> bytes:
    if form == "JPEG":
        return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65000, 65000, 1) + b"\x01\x11\0"
    if form == "PNG":
        return png(100_000, 100_000, 8, 2)
    if form == "BMP":
        return b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 60000, -60000, 1, 24, *[0] * 6)
    if form == "WebP":
        body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\x3f" * 2
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(tiff(np.zeros((1, 1, 3), np.uint8), 1))
    struct.pack_into(">I", data, 18, 100_000)
    struct.pack_into(">I", data, 30, 100_000)
    return bytes(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WebP"])
def test_decode_refuses_gigapixels_by_the_header_alone(form):
    with pytest.raises(
        ImageError, match=r"too large: [\d]+ x [\d]+ pixels are [\d,]+ megapixels, at most 250"
    ):
        decode(huge(form))
    assert MAX_PIXELS == 250_000_000


@pytest.mark.parametrize(
    "data", [b"Mueller, Anna", b"RIFF\x10\0\0\0WEBPMuelleranna", b"\x89PNG\r\n\x1a\n\0\0\0\1Muellerannaxyz"]
)
def test_decode_tells_nothing_of_a_content_that_may_be_text(data):
    with pytest.raises(ImageError) as raised:
        decode(data)
    assert "Muel" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".jpg", *LOSSLESS])
def test_decode_refuses_every_truncation(suffix, photograph, capfd):
    data = encode(suffix, photograph)
    for length in range(1, len(data) - 8, max(1, len(data) // 60)):
        with pytest.raises(ImageError, match=r"truncated|damaged|known format"):
            decode(data[:length])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".jpg", *LOSSLESS])
def test_decode_survives_damaged_bytes(suffix, photograph):
    data, rng = encode(suffix, photograph), np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), 400), 3):
            damaged[position] = rng.integers(256)
        try:
            image = decode(bytes(damaged))
        except ImageError:
            continue
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


def test_decode_names_a_wrong_png_checksum(photograph):
    data = bytearray(encode(".png", photograph))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(ImageError, match=r"the checksum of its chunk at byte [\d,]+ is wrong"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "expected JPEG, PNG, BMP, TIFF, WebP or DICOM"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "the JPEG image is truncated"),
        (png(0, 5, 8, 2), "the PNG header is damaged: it says 0 x 5 pixels"),
        (b"RIFF\x10\0\0\0WEBPABCDxxxxxxxxx", "the WebP header is damaged: its first chunk is of no kn"),
    ],
)  # fmt: skip
def test_decode_says_why_bytes_are_no_image(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("length", [26, 28, 30, 33])
def test_decode_refuses_a_bmp_whose_header_ends_behind_its_size(length, photograph):
    with pytest.raises(ImageError, match="the BMP image is truncated: its header is incomplete"):
        decode(encode(".bmp", photograph)[:length])


def test_decode_says_what_kind_it_cannot_decode():
    floats = cv2.imencode(".tiff", np.full((4, 4, 3), 0.5, np.float32))[1].tobytes()
    with pytest.raises(ImageError, match="the TIFF image is damaged, or of a kind that cannot be decoded"):
        decode(floats)


def test_decode_says_why_a_path_cannot_be_read(tmp_path):
    with pytest.raises(ImageError, match="there is no such file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="this is not a regular file"):
        decode(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_decode_does_not_wait_on_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="this is not a regular file"):
        decode(tmp_path / "pipe.jpg")


def test_decode_refuses_a_huge_file(tmp_path):
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)  # sparse: takes no space
    with pytest.raises(ImageError, match=r"the file has 3,221,225,472 bytes, at most 2,147,483,648 are read"):
        decode(path)


@pytest.fixture(scope="module")
def large(photograph) -> np.ndarray:
    """Just large enough to be read at half its size, (1600, 2100, 3)."""
    return cv2.resize(photograph, (2100, 1600), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("short", "long", "factor"),
    [
        (800, 1200, 1),
        (1598, 2000, 1),
        (1599, 2000, 2),  # 800 pixels remain: the decoder rounds up
        (1600, 1600, 2),
        (3196, 6000, 2),
        (3197, 6000, 4),
        (4000, 6000, 4),
        (6393, 8000, 8),
        (15000, 15001, 8),
    ],
)
def test_reduction_leaves_800_pixels_on_the_short_side(short, long, factor, turned):
    height, width = (long, short) if turned else (short, long)
    assert reduction(ImageHeader("JPEG", height, width), 128, 128) == factor


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(800, 800, 4), (1000, 1000, 4), (1001, 1000, 2), (1000, 1001, 2), (2001, 100, 1)],
)
def test_reduction_leaves_as_many_pixels_as_the_input_has(height, width, factor):
    assert reduction(ImageHeader("JPEG", 4000, 6000), height, width) == factor


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(3199, 3200, 1), (3200, 3201, 4), (3203, 3200, 4), (3198, 3200, 2)]
)
def test_reduction_keeps_what_tells_whether_a_photograph_was_turned(height, width, factor):
    assert reduction(ImageHeader("JPEG", height, width), 128, 128) == factor


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WebP"])
def test_reduction_is_for_jpeg_only(form):
    assert reduction(ImageHeader(form, 4000, 6000), 128, 128) == 1


def test_read_photograph_reduces_a_large_jpeg(large):
    data = encode(".jpg", large)
    photograph = read_photograph(data, 128, 128)
    assert photograph.size == (1600, 2100)
    assert photograph.pixels.shape == (800, 1050, 3)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]
    np.testing.assert_array_equal(photograph.pixels, expected)


@pytest.mark.parametrize("size_px", [128, 512])
def test_read_input_of_a_reduced_jpeg_is_within_rounding_of_all_its_pixels(size_px, large):
    data = encode(".jpg", large)
    difference = read_input(data, size_px, size_px).astype(int) - resize_to_input(
        decode(data), size_px, size_px
    )
    assert np.abs(difference).max() <= 2
    assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize("orientation", ORIENTED)
def test_read_photograph_turns_a_reduced_jpeg_upright(orientation, large):
    upright = read_photograph(with_orientation("JPEG", large, orientation), 128, 128)
    stored = read_photograph(with_orientation("JPEG", large, 1), 128, 128)
    np.testing.assert_array_equal(upright.pixels, ORIENTED[orientation](stored.pixels))
    assert upright.size == ((1600, 2100) if orientation < 5 else (2100, 1600))


def test_read_photograph_tells_the_size_of_a_nearly_square_turned_jpeg(large):
    nearly_square = cv2.resize(large, (1600, 1599))
    photograph = read_photograph(with_orientation("JPEG", nearly_square, 6), 128, 128)
    assert photograph.size == (1600, 1599)


def test_read_photograph_reduces_a_square_jpeg(large):
    photograph = read_photograph(with_orientation("JPEG", cv2.resize(large, (1600, 1600)), 6), 128, 128)
    assert photograph.size == (1600, 1600)
    assert photograph.pixels.shape == (800, 800, 3)


def test_read_photograph_makes_a_reduced_grey_jpeg_rgb(large):
    data = encode(".jpg", cv2.cvtColor(large, cv2.COLOR_RGB2GRAY))
    pixels = read_photograph(data, 128, 128).pixels
    assert pixels.shape == (800, 1050, 3)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_read_photograph_gives_every_pixel_of_a_small_image(suffix, photograph):
    data = encode(suffix, photograph)
    np.testing.assert_array_equal(read_photograph(data, 128, 128).pixels, decode(data))
    assert read_photograph(data, 128, 128).size == photograph.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_read_photograph_gives_every_pixel_of_a_large_image_that_is_no_jpeg(suffix, large):
    np.testing.assert_array_equal(read_photograph(encode(suffix, large), 128, 128).pixels, large)


def test_read_photograph_refuses_a_large_jpeg_that_is_cut_off(large):
    data = encode(".jpg", large)
    for part in (0.1, 0.5, 0.99):
        with pytest.raises(
            ImageError, match="the JPEG image is truncated or damaged: its end marker is missing"
        ):
            read_photograph(data[: round(part * len(data))], 128, 128)


def test_read_photograph_refuses_gigapixels_by_the_header_alone():
    with pytest.raises(ImageError, match="the image is too large: 65000 x 65000 pixels"):
        read_photograph(huge("JPEG"), 128, 128)


def test_resize_to_input_stretches_the_whole_image(photograph):
    resized = resize_to_input(photograph, 30, 60)
    assert resized.shape == (30, 60, 3)
    expected = photograph.reshape(30, 3, 60, 2, 3).mean(axis=(1, 3))  # whole blocks: INTER_AREA is their mean
    assert np.abs(resized - expected).max() <= 1


def test_resize_to_input_leaves_the_input_size_alone(photograph):
    assert resize_to_input(photograph, 90, 120) is photograph


def test_reduce_to_keeps_the_aspect_and_never_enlarges(photograph):
    assert reduce_to(photograph, 60).shape == (45, 60, 3)
    assert reduce_to(photograph, 500) is photograph
    assert reduce_to(photograph[:1], 10).shape == (1, 10, 3)


def test_decode_reads_the_real_samples(shared_data: Path):
    paths = sorted((shared_data / "real-samples" / "images").iterdir())
    assert len(paths) == 24
    assert all(decode(path).std() > 5 for path in paths)


def test_decode_refuses_a_jpeg_of_thousands_of_scans(photograph):
    data = encode(".jpg", photograph)
    scan = data.rindex(b"\xff\xda")
    header_bytes = 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    empty = data[scan : scan + header_bytes]
    with pytest.raises(ImageError, match="damaged: it has 5,001 scans, at most 100 are read"):
        decode(data[:scan] + empty * 5000 + data[scan:])


def test_decode_of_a_tiff_ignores_tags_that_claim_much(photograph):
    # 4000 tags of a million values each, all in the same bytes, would become 100 GB of tuples.
    tags = struct.pack(">HHII", 700, 1, 1_000_000, 8) * 4000
    data = b"MM\0\x2a" + struct.pack(">I", 1_000_008) + b"\0" * 1_000_000 + struct.pack(">H", 4000) + tags
    with pytest.raises(ImageError, match="the TIFF header is damaged: it says 0 x 0 pixels"):
        decode(data)


def test_decode_of_a_tiff_refuses_more_strips_than_an_image_can_have():
    data = b"MM\0\x2a" + struct.pack(">IHHHII", 8, 1, 273, 4, 2**31, 8) + b"\0" * 64
    with pytest.raises(ImageError, match="the TIFF image is truncated: its header is incomplete"):
        decode(data)
