import math

import numpy as np
import pytest

from biounet_edge.evaluation.bootstrap import measure, measure_mean, percentile_interval


def test_interval_equals_the_slow_loop() -> None:
    values = np.random.default_rng(1).random(15)
    rng = np.random.default_rng(7)
    means = []
    for _ in range(300):
        drawn = rng.integers(0, 15, 15)
        means.append(sum(values[i] for i in drawn) / 15)
    means.sort()
    # The 2.5 and 97.5 percentiles of 300 values lie between neighbours 7 and 8, and 291 and 292.
    expected = means[7] + 0.475 * (means[8] - means[7]), means[291] + 0.525 * (means[292] - means[291])
    interval = percentile_interval(lambda drawn: float(values[drawn].mean()), 15, 7, 300)
    assert interval == pytest.approx(expected)


def test_draws_that_do_not_define_the_statistic_are_left_out() -> None:
    labels = np.array([0.0, 1.0])

    def only_both(drawn: np.ndarray) -> float:
        return 3.0 if len(set(labels[drawn])) == 2 else math.nan

    assert percentile_interval(only_both, 2, 0, 100) == (3.0, 3.0)


def test_a_statistic_without_a_value_is_not_measured() -> None:
    assert measure(lambda drawn: math.nan, 5, 0, 100) is None
    assert measure(lambda drawn: 1.0 if list(drawn) == [0, 1, 2, 3] else math.nan, 4, 0, 10) is None


def test_no_images_are_not_measured() -> None:
    assert measure_mean(np.zeros(0), 0, 100) is None


def test_mean_stands_within_its_interval() -> None:
    values = np.random.default_rng(3).random(40)
    figure = measure_mean(values, 0, 500)
    assert figure is not None
    assert figure.value == pytest.approx(values.mean())
    assert figure.low < figure.value < figure.high


def test_more_images_narrow_the_interval() -> None:
    values = np.random.default_rng(3).random(400)
    few, many = measure_mean(values[:20], 0, 300), measure_mean(values, 0, 300)
    assert few is not None
    assert many is not None
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(3).random(20)
    assert measure_mean(values, 4, 100) == measure_mean(values, 4, 100)
    assert measure_mean(values, 4, 100) != measure_mean(values, 5, 100)
