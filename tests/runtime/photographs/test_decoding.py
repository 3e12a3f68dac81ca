import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import (
    MAX_PIXELS,
    decode,
    reduce_to,
    resize_to_input,
)

from .image_files import LOSSLESS, ORIENTED, encode, huge, png, png_chunk, with_orientation


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
        (b"not an image at all", "expected JPEG, PNG, BMP, TIFF, WebP, AVIF, HEIC or DICOM"),
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
    with pytest.raises(ImageError, match="not read: it has 3 samples a pixel of 32 bits, floating"):
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
    with pytest.raises(ImageError, match="damaged: its tags claim more bytes than the file has"):
        decode(data)


@pytest.mark.parametrize("quality", [90, 101])
def test_decode_refuses_a_webp_with_a_zeroed_sector(quality, photograph):
    noisy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    data = cv2.imencode(".webp", noisy, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    middle = len(data) // 2
    with pytest.raises(
        ImageError, match="WebP image is truncated or damaged: a part of its data reads as zeros"
    ):
        decode(data[:middle] + bytes(4096) + data[middle + 4096 :])


def test_decode_refuses_a_webp_whose_chunks_read_as_zeros(photograph):
    data = encode(".webp", photograph)
    gap = 64 * 1024**2  # bytes; of chunks of no length, they would take seconds to walk over
    longer = data[:4] + (len(data) - 8 + gap).to_bytes(4, "little") + data[8:]
    begin = time.monotonic()
    with pytest.raises(ImageError, match=rf"WebP image .* its chunk at byte {len(data):,} reads as zeros"):
        decode(longer + bytes(gap))
    np.testing.assert_array_equal(decode(data + bytes(gap)), photograph)  # behind its end
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
def test_decode_reads_a_large_image_of_one_colour(value, suffix):
    flat = np.full((1500, 2000, 3), value, np.uint8)
    np.testing.assert_array_equal(decode(encode(suffix, flat)), flat)


def test_decode_refuses_a_png_that_ends_before_its_rows_do():
    rows = zlib.compress(b"\0" + bytes(30))
    with pytest.raises(ImageError, match="the PNG image is damaged, or of a kind that cannot be decoded"):
        decode(png(10, 5, 8, 2, png_chunk(b"IDAT", rows)))


def test_decode_refuses_a_png_that_does_not_begin_with_its_header():
    data = png(10, 5, 8, 2)
    with pytest.raises(ImageError, match="the PNG header is damaged: it does not begin with the chunk IHDR"):
        decode(data[:8] + png_chunk(b"tEXt", b"IHDR") + data[8:])
