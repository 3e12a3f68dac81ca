import struct

import cv2
import numpy as np
import pytest

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import decode, read_photograph
from biounet_edge.photographs.header import read_header
from biounet_edge.photographs.jpeg import read_markers

from .image_files import encode

REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}
TEM = b"\xff\x01"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def zeroed(data: bytes, start: int) -> bytes:
    """A sector of 4 KiB that reads as zeros."""
    return data[:start] + bytes(4096) + data[start + 4096 :]


@pytest.fixture(scope="module")
def jpeg(photograph) -> bytes:
    """Large enough for several sectors, (720, 960, 3)."""
    return encode(".jpg", cv2.resize(photograph, (960, 720), interpolation=cv2.INTER_NEAREST))


def test_decode_of_a_jpeg_gives_what_opencv_gives(shared_data):
    from biounet_edge.photographs.jpeg import decode_jpeg

    folders = [shared_data / "real-samples" / "images", shared_data / "uda1" / "images"]
    paths = sorted(path for folder in folders for path in folder.iterdir())
    assert len(paths) == 393
    for path in paths:
        data = path.read_bytes()
        np.testing.assert_array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[1]))
        header = read_header(data)
        for factor, flags in REDUCED.items():
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
            actual = decode_jpeg(data, (header.height, header.width), factor)
            np.testing.assert_array_equal(actual, expected, err_msg=f"{path.name} at 1/{factor}")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_decode_refuses_a_jpeg_with_a_zeroed_sector(part, jpeg):
    with pytest.raises(ImageError, match="the JPEG image is truncated or damaged: Corrupt JPEG data"):
        decode(zeroed(jpeg, round(part * len(jpeg))))


def test_decode_refuses_a_jpeg_that_was_cut_and_given_an_end(jpeg):
    with pytest.raises(ImageError, match="Corrupt JPEG data: premature end of data segment"):
        decode(jpeg[: len(jpeg) // 2] + b"\xff\xd9")


def test_read_photograph_refuses_damage_at_a_reduced_size(photograph):
    data = encode(".jpg", cv2.resize(photograph, (2400, 1800), interpolation=cv2.INTER_NEAREST))
    with pytest.raises(ImageError, match="the JPEG image is truncated or damaged"):
        read_photograph(zeroed(data, len(data) // 2), 128, 128)


def test_decode_reads_what_follows_the_end_of_a_jpeg_for_nothing(jpeg):
    np.testing.assert_array_equal(decode(jpeg + b" "), decode(jpeg))
    np.testing.assert_array_equal(decode(jpeg + zeroed(jpeg, 9000)), decode(jpeg))


def test_header_of_a_jpeg_is_the_one_behind_a_marker_without_a_length(jpeg):
    # Read as a segment, TEM would hide the true frame header, of gigapixels, in front of a small image.
    small = encode(".jpg", np.zeros((8, 8, 3), np.uint8))
    large = bytearray(jpeg[2 : jpeg.index(b"\xff\xda")])
    start = large.index(b"\xff\xc0")
    large[start + 5 : start + 9] = struct.pack(">HH", 32000, 32000)
    data = jpeg[:2] + TEM + bytes(large) + jpeg[jpeg.index(b"\xff\xda") : -2] + b"\xff\xd9" + small[2:]
    assert (read_header(data).height, read_header(data).width) == (32000, 32000)
    with pytest.raises(ImageError, match="too large: 32000 x 32000 pixels"):
        decode(data)


def test_decode_refuses_bytes_that_hide_a_header(jpeg):
    hidden = TEM + struct.pack(">H", len(jpeg)) + jpeg[2:-2]
    with pytest.raises(ImageError, match=r"cannot be read: Corrupt JPEG data: .* extraneous"):
        decode(jpeg[:2] + hidden + jpeg[2:])


def test_decode_counts_scans_behind_a_marker_without_a_length(jpeg):
    scan = jpeg.rindex(b"\xff\xda")
    end = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    scans = jpeg[scan:end] * 150
    data = jpeg[:-2] + TEM + scans + jpeg[-2:]
    assert read_markers(data).scans == 151
    with pytest.raises(ImageError, match="it has 151 scans, at most 100 are read"):
        decode(data)


def test_markers_find_the_first_exif_and_the_whole_profile(jpeg):
    exif, other = segment(0xE1, b"Exif\0\0first"), segment(0xE1, b"Exif\0\0second")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    parts = [segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 2]) + text) for i, text in ((2, b"end"), (1, b"be"))]
    markers = read_markers(jpeg[:2] + xmp + exif + other + b"".join(parts) + jpeg[2:])
    assert (markers.exif, markers.profile) == (b"first", b"beend")
    assert (markers.scans, markers.is_whole) == (1, True)
