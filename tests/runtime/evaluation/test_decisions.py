import math

import numpy as np
import pytest
from numpy.typing import NDArray

from biounet_edge.evaluation.decisions import (
    Rate,
    judge_decisions,
    threshold_at_predictive_value,
    threshold_at_sensitivity,
)

NAN = math.nan


def random_case(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels, some unknown, and probabilities with ties that know something."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(5, 70))
    labels = (rng.random(count) < 0.4).astype(float)
    labels[:2] = 0, 1
    probability = np.round(0.4 * labels + 0.6 * rng.random(count), 2)
    labels[2:][rng.random(count - 2) < 0.2] = NAN
    return labels, probability


def slow_lower_end(hits: int, images: int) -> float:
    """Wilson's lower end as the smaller root of (p - rate)^2 = z^2 rate (1 - rate) / n."""
    z, p = 1.959964, hits / images
    a, b, c = 1 + z**2 / images, -(2 * p + z**2 / images), p**2
    return (-b - math.sqrt(b**2 - 4 * a * c)) / (2 * a)


def test_the_interval_is_the_published_one() -> None:
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3.
    assert Rate(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Rate(15, 148).interval == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert Rate(0, 20).interval == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert Rate(1, 29).interval == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize(("hits", "images"), [(1, 1), (3, 7), (50, 60), (0, 4), (4, 4)])
def test_the_interval_solves_wilsons_equation(hits: int, images: int) -> None:
    low, high = Rate(hits, images).interval
    assert low == pytest.approx(max(0.0, slow_lower_end(hits, images)), abs=1e-9)
    # Of the misses, the interval is the same turned round.
    assert high == pytest.approx(min(1.0, 1 - slow_lower_end(images - hits, images)), abs=1e-9)


def test_a_rate_of_no_image_is_anything() -> None:
    assert math.isnan(Rate(0, 0).value)
    assert Rate(0, 0).interval == (0.0, 1.0)


def test_decisions_worked_by_hand() -> None:
    judged = judge_decisions([1, 1, 1, 0, 0, NAN], [1, 1, 0, 1, 0, 1])
    assert judged.sensitivity == Rate(2, 3)
    assert judged.specificity == Rate(1, 2)
    assert judged.positive_predictive_value == Rate(2, 3)
    assert judged.negative_predictive_value == Rate(1, 2)


def test_decisions_turned_round_swap_their_figures() -> None:
    labels, probability = random_case(1)
    calls = probability >= 0.5
    plain, turned = judge_decisions(labels, calls), judge_decisions(1 - labels, ~calls)
    assert turned.sensitivity == plain.specificity
    assert turned.positive_predictive_value == plain.negative_predictive_value


def test_decisions_without_a_label_have_no_figures() -> None:
    judged = judge_decisions([NAN], [1])
    assert judged.sensitivity == judged.specificity == judged.positive_predictive_value == Rate(0, 0)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("sensitivity", [0.01, 0.5, 0.9, 1.0])
def test_the_threshold_at_a_sensitivity_equals_the_slow_loop(seed: int, sensitivity: float) -> None:
    labels, probability = random_case(seed)
    positives = [p for t, p in zip(labels, probability, strict=True) if t == 1]
    enough = [
        cut for cut in positives if sum(p >= cut for p in positives) / len(positives) >= sensitivity - 1e-9
    ]
    assert threshold_at_sensitivity(labels, probability, sensitivity) == max(enough)


def test_nine_of_ten_positives_are_called() -> None:
    # 0.9 * 10 is 9 in exact arithmetic: the ninth of ten is low enough.
    probability = np.arange(1, 11) / 10
    assert threshold_at_sensitivity(np.ones(10), probability, 0.9) == 0.2
    assert threshold_at_sensitivity(np.ones(10), probability, 0.91) == 0.1


def test_without_a_positive_the_threshold_is_a_half() -> None:
    assert threshold_at_sensitivity([0, NAN], [0.1, 0.9], 0.9) == 0.5


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("least", [0.2, 0.5, 0.7])
def test_the_threshold_at_a_predictive_value_equals_the_slow_loop(seed: int, least: float) -> None:
    labels, probability = random_case(seed)
    expected = None
    for cut in sorted({p for t, p in zip(labels, probability, strict=True) if not math.isnan(t)}):
        called = [t for t, p in zip(labels, probability, strict=True) if p >= cut and not math.isnan(t)]
        if slow_lower_end(sum(t == 1 for t in called), len(called)) >= least:
            expected = cut
            break
    assert threshold_at_predictive_value(labels, probability, least) == expected


def test_four_right_calls_are_surely_more_often_right_than_wrong() -> None:
    # Wilson's lower end is n / (n + z^2) where all n are hits: 3 / 6.84 = 0.44, 4 / 7.84 = 0.51.
    assert threshold_at_predictive_value([1] * 3 + [0] * 9, [0.9] * 3 + [0.1] * 9, 0.5) is None
    assert threshold_at_predictive_value([1] * 4 + [0] * 9, [0.9] * 4 + [0.1] * 9, 0.5) == 0.9


def test_without_a_label_there_is_no_threshold_at_a_predictive_value() -> None:
    assert threshold_at_predictive_value([NAN], [0.9], 0.5) is None
