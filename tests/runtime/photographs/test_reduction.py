import cv2
import numpy as np
import pytest

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import (
    decode,
    read_input,
    read_photograph,
    reduction,
    resize_to_input,
)
from biounet_edge.photographs.header import ImageHeader

from .image_files import ORIENTED, encode, huge, with_orientation


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
