from dataclasses import replace

import cv2
import numpy as np
import pytest

from biounet_edge.prediction import Prediction, make_prediction
from biounet_edge.results.overlay import COLOURS, draw_overlay


def predict(bundle, level: str, probability: float) -> Prediction:
    """Every indicator present or absent, with its mask and heatmap in the left half."""
    left = np.zeros((5, 32, 32), np.float32)
    left[:, :, :16] = 1
    outputs = {
        "melanoma_probability": np.float32(0.5),
        "melanoma_contribution": np.zeros(5, np.float32),
        "indicator_probability": np.full(5, probability, np.float32),
    }
    if level != "classify":
        outputs |= {"heatmap": left[:, ::4, ::4], "heatmap_scale": np.ones(5, np.float32)}
    if level == "full":
        outputs["mask_probability"] = left
    return make_prediction(bundle.manifest, level, outputs, "a.jpg", (32, 32))


@pytest.mark.parametrize("size", [(1, 1), (60, 80), (900, 1200), (3000, 200), (10, 2500)])
@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_draw_overlay_fits_any_photograph(bundle, level, size):
    photograph = np.full((*size, 3), 128, np.uint8)
    overlay = draw_overlay(predict(bundle, level, 1.0), photograph, "Not for clinical use. " * 5)
    assert overlay.dtype == np.uint8
    assert overlay.shape[1] >= 520
    assert 520 <= max(overlay.shape[:2]) <= 2100


@pytest.mark.parametrize("level", ["cam", "full"])
def test_draw_overlay_marks_present_indicators_only(bundle, level):
    photograph = np.full((900, 900, 3), 128, np.uint8)
    marked = draw_overlay(predict(bundle, level, 1.0), photograph)[:900]
    assert np.abs(marked[300:600, :400].astype(int) - 128).max() > 5
    assert (marked[:, 700:] == 128).all()
    assert (draw_overlay(predict(bundle, level, 0.0), photograph)[:900] == 128).all()


def test_draw_overlay_outlines_a_mask_in_its_colour(bundle):
    overlay = draw_overlay(predict(bundle, "full", 1.0), np.full((900, 900, 3), 128, np.uint8))
    last = np.array(COLOURS["globules"])  # drawn last, hence on top
    assert (overlay[450, 430:470] == last).all(axis=1).any()


def test_draw_overlay_blends_heat_by_its_strength(bundle):
    prediction = predict(bundle, "cam", 1.0)
    for name, finding in prediction.indicators.items():
        finding.model_heatmap[:] = {"streaks": 0.7, "globules": 1.0}.get(
            name, 0.39
        )  # 0.4 and less is left out
    overlay = draw_overlay(prediction, np.full((900, 900, 3), 128, np.uint8))
    half_hot = 128 + 0.3 * (np.array(COLOURS["streaks"]) - 128)
    hot = half_hot + 0.6 * (np.array(COLOURS["globules"]) - half_hot)
    assert np.abs(overlay[:900].astype(float) - hot).max() <= 2


def test_draw_overlay_tints_a_mask_and_outlines_its_holes(bundle):
    prediction = predict(bundle, "full", 1.0)
    for name, finding in prediction.indicators.items():
        finding.model_mask_probability[:] = name == "globules"
        finding.model_mask_probability[8:24, 8:24] = 0
    marked = draw_overlay(prediction, np.full((900, 900, 3), 128, np.uint8))[:900].astype(int)
    tint = 0.9 * 128 + 0.1 * np.array(COLOURS["globules"])
    assert np.abs(marked[100, 100] - tint).max() <= 1
    assert (marked[450, 450] == 128).all()
    assert (marked[450, 200:260] == COLOURS["globules"]).all(axis=1).any()


@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_draw_overlay_says_probability_only_without_an_operating_point(undecided_bundle, level, monkeypatch):
    texts, put = [], cv2.putText
    monkeypatch.setattr(
        cv2, "putText", lambda image, text, *rest: (texts.append(text), put(image, text, *rest))
    )
    draw_overlay(predict(undecided_bundle, level, 0.25), np.full((900, 900, 3), 128, np.uint8))
    assert [text for text in texts if "Streaks" in text] == ["Streaks 25%, probability only"]
    assert sum("probability only" in text for text in texts) == 1


@pytest.mark.parametrize("level", ["cam", "full"])
def test_draw_overlay_draws_nothing_of_an_indicator_without_an_operating_point(undecided_bundle, level):
    prediction = predict(undecided_bundle, level, 1.0)
    alone = replace(prediction, indicators={"streaks": prediction.indicators["streaks"]})
    assert (draw_overlay(alone, np.full((900, 900, 3), 128, np.uint8))[:900] == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (900, 1200), (1200, 1600), (10, 2500)])
def test_legend_with_probabilities_only_stays_inside_its_columns(undecided_bundle, size, monkeypatch):
    ends, put = [], cv2.putText

    def write(image, text, origin, colour, face, size_px, weight):
        (_, _, width, _) = cv2.getTextSize((0, 0), text, (0, 0), face, size_px, weight)
        ends.append((origin, origin[0] + width, image.shape[1]))
        return put(image, text, origin, colour, face, size_px, weight)

    monkeypatch.setattr(cv2, "putText", write)
    draw_overlay(predict(undecided_bundle, "full", 0.99), np.full((*size, 3), 128, np.uint8))
    for (x, y), end, width in ends:
        assert end <= min([width, *(left for (left, top), _, _ in ends if top == y and left > x)])


def test_draw_overlay_writes_the_notice(bundle):
    photograph = np.full((900, 900, 3), 128, np.uint8)
    prediction = predict(bundle, "full", 1.0)
    assert len(draw_overlay(prediction, photograph, "Not for clinical use")) > len(
        draw_overlay(prediction, photograph)
    )


def test_draw_overlay_leaves_the_photograph_alone(bundle, photograph):
    before = photograph.copy()
    draw_overlay(predict(bundle, "full", 1.0), photograph)
    np.testing.assert_array_equal(photograph, before)


def test_draw_overlay_has_a_colour_per_indicator(bundle):
    assert set(COLOURS) == set(bundle.manifest.indicators)
    assert len(set(COLOURS.values())) == 5


def test_draw_overlay_warns_of_an_unfamiliar_photograph(bundle):
    photograph, known = np.full((900, 900, 3), 128, np.uint8), predict(bundle, "full", 1.0)
    plain = draw_overlay(known, photograph)
    warned = draw_overlay(replace(known, unfamiliar=True), photograph)
    np.testing.assert_array_equal(plain[:900], warned[:900])
    assert warned.shape[0] > plain.shape[0]
    assert (warned[900:] == (255, 190, 60)).all(axis=2).any()  # a line of its own, in a colour of its own
    assert not (plain[900:] == (255, 190, 60)).all(axis=2).any()
