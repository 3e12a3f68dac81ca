import json

import numpy as np
import pytest

from biounet_edge import INDICATORS, Category
from biounet_edge.prediction import Prediction, PredictionFailure, make_prediction

SIZE = (90, 120)


def outputs(probability: float = 1.0) -> dict[str, np.ndarray]:
    """Graph outputs of one image: a mask in the upper left quarter, a heatmap that grows to the right."""
    mask = np.full((5, 48, 48), 0.01, np.float32)
    mask[:, :24, :24] = 0.99
    heatmap = np.broadcast_to(np.linspace(0, 1, 6, dtype=np.float32), (5, 6, 6))
    return {
        "melanoma_probability": np.float32(0.25),
        "melanoma_contribution": np.arange(5, dtype=np.float32) - 2,
        "indicator_probability": np.full(5, probability, np.float32),
        "heatmap": heatmap,
        "heatmap_scale": np.arange(5, dtype=np.float32),
        "mask_probability": mask,
    }


@pytest.fixture
def prediction(bundle) -> Prediction:
    return make_prediction(bundle.manifest, "full", outputs(), "a.jpg", SIZE)


def test_arrays_have_the_photographs_size(prediction):
    finding = prediction.indicators["streaks"]
    assert finding.mask.shape == finding.heatmap.shape == finding.mask_probability.shape == SIZE
    assert finding.mask.dtype == np.bool_
    assert finding.heatmap.dtype == finding.mask_probability.dtype == np.float32


def test_mask_lies_where_the_model_put_it(prediction):
    mask = prediction.indicators["streaks"].mask
    expected = np.zeros(SIZE, bool)
    expected[:45, :60] = True
    assert (mask == expected).mean() > 0.97
    assert prediction.indicators["streaks"].area_pct == pytest.approx(25)


def test_heatmap_keeps_its_direction_and_range(prediction):
    heatmap = prediction.indicators["streaks"].heatmap
    assert heatmap[:, 0].max() == pytest.approx(0)
    assert heatmap[:, -1].min() == pytest.approx(1)
    assert (np.diff(heatmap, axis=1) >= 0).all()


def test_indicators_stand_in_the_manifests_order(prediction):
    assert tuple(prediction.indicators) == INDICATORS
    assert [finding.contribution for finding in prediction.indicators.values()] == [-2, -1, 0, 1, 2]
    assert [finding.heatmap_scale for finding in prediction.indicators.values()] == [0, 1, 2, 3, 4]


def test_absent_indicator_has_an_empty_mask_but_keeps_its_numbers(bundle):
    point = bundle.manifest.operating_points["streaks"].presence
    below = make_prediction(bundle.manifest, "full", outputs(point / 2), "a.jpg", SIZE).indicators["streaks"]
    assert not below.present
    assert not below.mask.any()
    assert below.mask.shape == SIZE
    assert below.area_pct == 0
    assert below.mask_probability.max() > 0.9
    assert below.heatmap_scale == 2


def test_indicator_at_its_operating_point_is_present(bundle):
    manifest = bundle.manifest
    at = outputs()
    at["indicator_probability"] = np.array([manifest.operating_points[n].presence for n in INDICATORS])
    findings = make_prediction(manifest, "full", at, "a.jpg", SIZE).indicators
    assert all(finding.present for finding in findings.values())


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_indicator_without_an_operating_point_is_neither_present_nor_absent(undecided_bundle, probability):
    findings = make_prediction(
        undecided_bundle.manifest, "full", outputs(probability), "a.jpg", SIZE
    ).indicators
    assert findings["streaks"].present is None
    assert findings["streaks"].probability == probability
    assert all(type(finding.present) is bool for name, finding in findings.items() if name != "streaks")


def test_indicator_without_an_operating_point_has_no_mask_and_no_area(undecided_bundle):
    finding = make_prediction(undecided_bundle.manifest, "full", outputs(), "a.jpg", SIZE).indicators[
        "streaks"
    ]
    assert finding.mask is None
    assert finding.mask_at((3, 3)) is None
    assert finding.area_pct is None


def test_indicator_without_an_operating_point_keeps_its_arrays_and_numbers(undecided_bundle):
    finding = make_prediction(undecided_bundle.manifest, "full", outputs(), "a.jpg", SIZE).indicators[
        "streaks"
    ]
    assert finding.mask_probability.max() > 0.9
    assert finding.heatmap.shape == SIZE
    assert (finding.contribution, finding.heatmap_scale) == (0, 2)


def test_to_dict_has_null_where_there_is_no_operating_point(undecided_bundle):
    prediction = make_prediction(undecided_bundle.manifest, "full", outputs(), "a.jpg", SIZE)
    streaks = json.loads(json.dumps(prediction.to_dict()))["indicators"]["streaks"]
    assert (streaks["present"], streaks["area_pct"]) == (None, None)


def test_pixel_at_its_operating_point_belongs_to_the_mask(bundle):
    at = outputs()
    for j, name in enumerate(INDICATORS):
        at["mask_probability"][j] = bundle.manifest.operating_points[name].mask
    findings = make_prediction(bundle.manifest, "full", at, "a.jpg", (48, 48)).indicators
    assert all(finding.mask.all() and finding.area_pct == 100 for finding in findings.values())


def test_melanoma_is_decided_at_the_operating_point(bundle):
    for probability in (0.0, bundle.manifest.melanoma.threshold, 1.0):
        values = outputs() | {"melanoma_probability": np.float64(probability)}
        prediction = make_prediction(bundle.manifest, "full", values, "a.jpg", SIZE)
        assert prediction.melanoma == (probability >= bundle.manifest.melanoma.threshold)


def test_lower_levels_have_none_where_nothing_was_computed(bundle):
    values = outputs()
    del values["mask_probability"]
    finding = make_prediction(bundle.manifest, "cam", values, "a.jpg", SIZE).indicators["globules"]
    assert finding.mask is None
    assert finding.mask_probability is None
    assert finding.area_pct is None
    assert finding.heatmap is not None
    del values["heatmap"], values["heatmap_scale"]
    finding = make_prediction(bundle.manifest, "classify", values, "a.jpg", SIZE).indicators["globules"]
    assert finding.heatmap is None
    assert finding.heatmap_at((3, 3)) is None
    assert finding.heatmap_scale is None


def test_small_photograph_gets_the_mean_of_the_model_pixels(bundle):
    finding = make_prediction(bundle.manifest, "full", outputs(), "a.jpg", (2, 2)).indicators["streaks"]
    np.testing.assert_allclose(finding.mask_probability, [[0.99, 0.01], [0.01, 0.01]], atol=1e-6)


def test_to_dict_is_json_without_arrays(prediction):
    content = json.loads(json.dumps(prediction.to_dict()))
    assert (content["status"], content["category"], content["warning"]) == ("ok", None, None)
    assert (content["familiarity"], content["notes"]) == (None, [])
    assert (content["width"], content["height"]) == (120, 90)
    assert list(content["indicators"]) == list(INDICATORS)
    assert set(content["indicators"]["streaks"]) == {
        "probability", "present", "contribution", "area_pct", "heatmap_scale",
    }  # fmt: skip
    failure = PredictionFailure("a.jpg", "no", "ab", Category.FAILED)
    assert json.loads(json.dumps(failure.to_dict())) == {
        "image": "a.jpg", "sha256": "ab", "status": "error", "category": "failed", "error": "no",
        "familiarity": None,
    }  # fmt: skip
