import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from biounet_edge import InputError
from biounet_edge.photographs.decoding import decode
from biounet_edge.results.html.entry import PICTURE_PX, make_entry
from biounet_edge.results.overlay import COLOURS


def drawn(path: str, canvas: tuple[int, int]) -> np.ndarray:
    """Fills an entry's path as the browser does, by the even-odd rule."""
    polygons = []
    for start, steps in re.findall(r"M(\d+ \d+)l([^z]+)z", path):
        moves = np.array(re.findall(r"-?\d+", steps), int).reshape(-1, 2)
        polygons.append(np.cumsum(np.vstack([np.array(start.split(), int), moves]), axis=0))
    mask = np.zeros(canvas, np.uint8)
    cv2.fillPoly(mask, [polygon.astype(np.int32) for polygon in polygons], 1)
    return mask > 0


def test_make_entry_keeps_the_numbers_of_the_table(predict):
    prediction = predict()
    assert make_entry(prediction).row == prediction.to_dict()
    json.dumps(make_entry(prediction).row)


def test_make_entry_reduces_the_photograph(predict):
    large = np.zeros((900, 1200, 3), np.uint8)
    assert decode(make_entry(replace(predict(), preview=large)).photograph).shape == (480, PICTURE_PX, 3)


def test_make_entry_keeps_colours(predict, photograph):
    shown = decode(make_entry(predict()).photograph)
    assert shown.shape == photograph.shape
    np.testing.assert_allclose(shown.mean((0, 1)), photograph.mean((0, 1)), atol=2)


def test_make_entry_draws_present_indicators_only(predict):
    entry = make_entry(predict())
    assert list(entry.masks) == list(entry.heatmaps) == ["pigment_network", "streaks"]


def test_make_entry_draws_nothing_without_an_operating_point(predict_undecided):
    entry = make_entry(predict_undecided())
    assert list(entry.masks) == list(entry.heatmaps) == ["pigment_network"]
    assert entry.row["indicators"]["streaks"]["present"] is None


def test_outline_encloses_the_mask(predict):
    prediction = predict()
    entry = make_entry(prediction)
    assert entry.canvas == (5 * 90, 5 * 120)
    for name, path in entry.masks.items():
        mask = prediction.indicators[name].mask_at(entry.canvas)
        both = np.logical_and(mask, drawn(path, entry.canvas)).sum()
        assert both / np.logical_or(mask, drawn(path, entry.canvas)).sum() > 0.98


def test_outline_leaves_holes_out(predict):
    prediction = predict()
    ring = np.full((40, 40), 0.99, np.float32)
    ring[10:30, 10:30] = 0.01
    finding = replace(prediction.indicators["streaks"], model_mask_probability=ring)
    entry = make_entry(replace(prediction, indicators={"streaks": finding}))
    assert not drawn(entry.masks["streaks"], entry.canvas)[225, 300]
    assert drawn(entry.masks["streaks"], entry.canvas)[50, 50]


def test_heatmap_is_the_colour_of_its_indicator_and_transparent_where_it_is_cold(predict):
    content = np.frombuffer(make_entry(predict()).heatmaps["streaks"], np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    assert image.shape == (48, 64, 4)
    assert tuple(image[-1, -1, 2::-1]) == COLOURS["streaks"]
    assert image[-1, -1, 3] == pytest.approx(0.6 * 255, abs=3)
    assert image[0, 0, 3] == 0


@pytest.mark.parametrize(("level", "kinds"), [("classify", (0, 0)), ("cam", (0, 2)), ("full", (2, 2))])
def test_make_entry_has_what_the_level_computes(predict, level, kinds):
    entry = make_entry(predict(level=level))
    assert (len(entry.masks), len(entry.heatmaps)) == kinds


def test_make_entry_without_a_photograph_says_what_is_missing(predict):
    with pytest.raises(InputError, match="a report needs the photographs: predict with preview_px of 640"):
        make_entry(replace(predict(), preview=None))
