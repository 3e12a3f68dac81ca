import dataclasses

import numpy as np
import pytest

from biounet_edge import INDICATORS
from biounet_edge.checks.agreement import FAINT, GATES, AgreementMeter, Spread, correlation
from biounet_edge.checks.golden import compare


@pytest.fixture(scope="module")
def golden(bundle):
    return bundle.golden().outputs


def measure(bundle, actual, expected):
    meter = AgreementMeter(bundle.manifest)
    meter.add(actual, expected)
    return meter.result()


def test_what_is_the_same_agrees_in_everything(bundle, golden):
    agreement = measure(bundle, golden, golden)
    assert agreement.images == len(golden["melanoma_probability"])
    assert agreement.melanoma_flips == agreement.presence_flips == agreement.lost_heatmaps == 0
    assert agreement.probability_difference == agreement.contribution_difference == 0
    assert set(agreement.mask_iou) == set(bundle.manifest.indicators)
    cells = golden["heatmap"][0, 0].size
    shown = (golden["heatmap_scale"] * cells >= FAINT).any(axis=0)  # (J)
    assert shown.any()
    assert list(agreement.heatmap_correlation) == [n for n, s in zip(INDICATORS, shown, strict=True) if s]
    assert all(spread.worst == pytest.approx(1) for spread in agreement.heatmap_correlation.values())
    assert set(agreement.mask_iou.values()) == {1.0}
    assert all(gates.problems(agreement) == [] for gates in GATES.values())


def test_decisions_are_counted_at_the_operating_points(bundle, golden):
    threshold = bundle.manifest.melanoma.threshold
    below, above = np.float32(threshold - 1e-3), np.float32(threshold + 1e-3)
    images = len(golden["melanoma_probability"])
    expected = golden | {"melanoma_probability": np.full(images, above)}
    actual = golden | {"melanoma_probability": np.array([below, *[above] * (images - 1)])}
    point = bundle.manifest.operating_points["globules"].presence
    presence = golden["indicator_probability"].copy()
    presence[:, 4] = point + 1e-3
    lower = presence.copy()
    lower[:2, 4] = point - 1e-3
    agreement = measure(
        bundle, actual | {"indicator_probability": lower}, expected | {"indicator_probability": presence}
    )
    assert agreement.melanoma_flips == 1
    assert agreement.presence_flips == 2
    assert agreement.probability_difference == pytest.approx(2e-3, rel=1e-3)


def test_indicator_without_an_operating_point_has_no_decision_that_flips(undecided_bundle, golden):
    expected, actual = (golden["indicator_probability"].copy() for _ in range(2))
    expected[:, 2], actual[:, 2] = 0.0, 1.0
    agreement = measure(
        undecided_bundle,
        golden | {"indicator_probability": actual},
        golden | {"indicator_probability": expected},
    )
    assert agreement.presence_flips == 0
    assert agreement.probability_difference == 1.0
    assert "streaks" in agreement.mask_iou


def test_mask_iou_is_that_of_the_pixels_of_all_images(bundle, golden):
    shape = golden["mask_probability"].shape
    expected, actual = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    expected[0, 2, :10, :10] = 1  # 100 pixels on one image
    actual[0, 2, :10, :5] = 1  # half of them
    actual[1, 2, :5, :10] = 1  # and 50 on another
    agreement = measure(
        bundle, golden | {"mask_probability": actual}, golden | {"mask_probability": expected}
    )
    assert agreement.mask_iou["streaks"] == pytest.approx(50 / 150)
    assert agreement.mask_iou["globules"] == 1.0  # empty both


def test_a_heatmap_that_is_lost_is_counted_unless_it_is_faint(bundle, golden):
    expected, heatmap = golden["heatmap"].copy(), golden["heatmap"].copy()
    expected[:, 0] = np.linspace(0, 1, expected.shape[-1])
    heatmap[:, 0] = 0
    scale = golden["heatmap_scale"].copy()
    scale[:, 0] = 1.0
    scale[0, 0] = FAINT / heatmap[0, 0].size / 10  # together, its cells add a tenth of what is faint
    agreement = measure(
        bundle, golden | {"heatmap": heatmap}, golden | {"heatmap": expected, "heatmap_scale": scale}
    )
    assert agreement.lost_heatmaps == len(heatmap) - 1
    assert agreement.faint_heatmaps >= 1
    assert agreement.heatmap_correlation["pigment_network"].worst == 0


def test_what_is_no_number_misses_its_gate(bundle, golden):
    broken = golden["melanoma_probability"].copy()
    broken[0] = np.nan
    agreement = measure(bundle, golden | {"melanoma_probability": broken}, golden)
    assert "largest probability difference is inf, at most 0.015 is accepted" in GATES["float16"].problems(
        agreement
    )


def test_batches_add_up_to_the_whole(bundle, golden):
    noisy = {name: values + np.float32(1e-3) for name, values in golden.items()}
    meter = AgreementMeter(bundle.manifest)
    for start in range(len(golden["melanoma_probability"])):
        part = slice(start, start + 1)
        meter.add(*({name: values[part] for name, values in side.items()} for side in (noisy, golden)))
    assert meter.result() == measure(bundle, noisy, golden)


def test_each_gate_is_named_where_it_is_missed(bundle, golden):
    agreement = dataclasses.replace(
        measure(bundle, golden, golden),
        melanoma_flips=1,
        lost_heatmaps=2,
        heatmap_correlation={"streaks": Spread(0.5, -0.1)},
        mask_iou={"globules": 0.25},
    )
    assert GATES["int8"].problems(agreement) == [
        "melanoma decisions that flip is 1, at most 0 is accepted",
        "heatmaps all zero that were not is 2, at most 0 is accepted",
        "median heatmap correlation of streaks is 0.5, at least 0.98 is accepted",
        "worst heatmap correlation of streaks is -0.1, at least 0.7 is accepted",
        "mask IoU of globules is 0.25, at least 0.7 is accepted",
    ]


def test_correlation_by_hand():
    one = np.array([[0, 1], [2, 3]], np.float32)
    assert correlation(one, 2 * one + 1) == pytest.approx(1)
    assert correlation(one, -one) == pytest.approx(-1)
    assert correlation(one, np.array([[0, 1], [1, 0]], np.float32)) == pytest.approx(0)
    assert correlation(one, np.zeros_like(one)) == 0
    assert correlation(np.zeros_like(one), np.zeros_like(one)) == 1


def test_shorter_formats_are_judged_by_their_gates_and_not_number_by_number(bundle, golden):
    class Noisy:
        precision = "bfloat16"

        def run(self, images):
            return {name: values + np.float32(1e-2) for name, values in golden.items()}

    checks, agreement, problems = compare(bundle, Noisy(), "full", bundle.golden())
    assert all(check.problem is None and check.tolerance is None for check in checks)
    assert agreement.probability_difference == pytest.approx(1e-2, rel=1e-3)
    assert not [problem for problem in problems if "probability" in problem]
