import math

import numpy as np
import pytest

from train.metrics import auc, continuous_dice, youden_threshold


def slow_continuous_dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    overlap = support = size_a = size_b = 0.0
    for a, b in zip(truth.ravel(), prediction.ravel(), strict=True):
        overlap += a * b
        support += a * np.sign(b)
        size_a += a
        size_b += b
    c = overlap / support if support > 0 else 1.0
    total = c * size_a + size_b
    return 2 * overlap / total if total > 0 else 1.0


@pytest.mark.parametrize("seed", range(50))
def test_continuous_dice_equals_the_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((7, 6)) > rng.random()
    prediction = np.where(rng.random((7, 6)) > rng.random(), rng.random((7, 6)), 0.0)
    assert continuous_dice(truth, prediction) == pytest.approx(slow_continuous_dice(truth, prediction))


def test_continuous_dice_worked_by_hand() -> None:
    truth = np.array([[True, True, False]])
    prediction = np.array([[0.5, 0.0, 0.25]])
    # overlap 0.5, one truth pixel is covered: c = 0.5; 2 * 0.5 / (0.5 * 2 + 0.75)
    assert continuous_dice(truth, prediction) == pytest.approx(1 / 1.75)


def test_continuous_dice_does_not_punish_a_constant_probability_on_the_truth() -> None:
    truth = np.array([[True, False]])
    assert continuous_dice(truth, np.array([[0.3, 0.0]])) == pytest.approx(1.0)


def test_continuous_dice_of_empty_masks() -> None:
    nothing = np.zeros((2, 2))
    assert continuous_dice(nothing.astype(bool), nothing) == 1.0
    assert continuous_dice(nothing.astype(bool), nothing + 0.1) == 0.0


def test_continuous_dice_of_different_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a prediction of shape \(2, 2\), got \(2, 3\)"):
        continuous_dice(np.zeros((2, 2), bool), np.zeros((2, 3)))


def test_auc_ignores_missing_labels() -> None:
    assert auc([0, 1, math.nan, 0, 1], [0.1, 0.9, 1.0, 0.2, 0.15]) == pytest.approx(0.75)


def test_auc_of_one_class_is_nan() -> None:
    assert math.isnan(auc([1, 1, math.nan], [0.1, 0.2, 0.3]))


def test_youden_threshold_separates() -> None:
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8]) == pytest.approx(0.7)
    assert youden_threshold([1, 1], [0.1, 0.2]) == 0.5
