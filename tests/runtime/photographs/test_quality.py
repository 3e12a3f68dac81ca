import cv2
import numpy as np
import pytest

from biounet_edge.photographs.quality import SIDE_PX, measure_quality, quality_notes


def skin(side: int = 320) -> np.ndarray:
    """Bright skin with a brown lesion in the middle, in focus."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:side, 0:side] / side
    lesion = ((x - 0.5) / 0.2) ** 2 + ((y - 0.5) / 0.15) ** 2 < 1
    image = np.array([210, 170, 150]) - lesion[..., np.newaxis] * np.array([110, 100, 90])
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def words(image: np.ndarray) -> list[str]:
    return [note.partition(":")[0] for note in quality_notes(image)]


def test_quality_of_a_good_photograph_has_no_note():
    assert quality_notes(skin()) == ()


@pytest.mark.parametrize("side", [160, SIDE_PX, 320, 640])
def test_quality_is_measured_at_one_size(side):
    assert words(skin(side)) == []
    assert words(cv2.GaussianBlur(skin(side), (0, 0), side / 60)) == ["out of focus"]


def test_sharpness_is_the_variance_of_the_laplacian():
    image = skin(SIDE_PX)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    assert measure_quality(image).sharpness == pytest.approx(laplacian.var(), rel=1e-6)


def test_white_pixels_are_counted():
    image = skin(SIDE_PX)
    image[: SIDE_PX // 4] = 255
    assert measure_quality(image).white == pytest.approx(0.25, abs=0.01)
    assert "overexposed" in words(image)


def test_dark_photograph_is_underexposed_and_dark_skin_is_not():
    assert words((skin() * 0.3).astype(np.uint8)) == ["underexposed"]
    dark_skin = np.clip(skin() * np.array([0.7, 0.45, 0.35]), 0, 255).astype(np.uint8)
    assert "underexposed" not in words(dark_skin)


def test_black_picture_is_underexposed():
    assert "underexposed" in words(np.zeros((320, 320, 3), np.uint8))


def test_lesion_that_touches_the_border_is_cut_off():
    image = skin()
    image[:, :200] = image[140:180, 140:180].mean(axis=(0, 1))  # the colour of the lesion
    noise = np.random.default_rng(6).normal(0, 8, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    assert words(image) == ["cut off"]
    # All of the left side, and of the middle parts of top and bottom 137 of 194 pixels.
    assert measure_quality(image).cut == pytest.approx((1 + 2 * 137 / 194) / 4, abs=0.02)


def test_dark_frame_of_a_dermoscope_counts_for_nothing():
    image = skin()
    y, x = np.mgrid[0:320, 0:320] - 160
    image[x**2 + y**2 > 150**2] = 5
    assert quality_notes(image) == ()
    blurred = cv2.GaussianBlur(skin(), (0, 0), 6)
    blurred[x**2 + y**2 > 150**2] = 5
    assert words(blurred) == ["out of focus"]


def test_hair_over_most_of_it_is_noted():
    image = skin()
    for start in range(-320, 320, 14):
        cv2.line(image, (start, 0), (start + 320, 320), (20, 15, 12), 3)
    assert "covered by hair" in words(image)
    few = skin()
    cv2.line(few, (0, 40), (320, 200), (20, 15, 12), 3)
    assert words(few) == []


def test_quality_does_not_change_what_is_predicted(predictor, photograph):
    blurred = cv2.GaussianBlur(photograph, (0, 0), 5)
    prediction = predictor.predict(blurred)
    assert [note.partition(":")[0] for note in prediction.notes] == ["out of focus"]
    assert prediction.status == "ok"
    assert prediction.to_dict()["notes"] == list(prediction.notes)
