import math

import numpy as np
import pytest
from numpy.typing import NDArray

from biounet_edge.evaluation.probabilities import auc, average_precision, calibration_error, known

NAN = math.nan


def random_case(seed: int, decimals: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels, some unknown, and probabilities with many ties."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 80))
    labels = (rng.random(count) < rng.uniform(0.05, 0.95)).astype(float)
    labels[:2] = 0, 1
    probability = np.round(0.3 * labels + 0.7 * rng.random(count), decimals)
    labels[2:][rng.random(count - 2) < 0.2] = NAN
    return labels, probability


def split(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Scores of positives and of negatives."""
    pairs = list(zip(labels.tolist(), scores.tolist(), strict=True))
    return [s for t, s in pairs if t == 1], [s for t, s in pairs if t == 0]


def slow_auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    positives, negatives = split(labels, scores)
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def slow_average_precision(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    positives, negatives = split(labels, scores)
    total = 0.0
    for score in positives:
        right = sum(p >= score for p in positives)
        total += right / (right + sum(n >= score for n in negatives))
    return total / len(positives)


def slow_calibration_error(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    positives, negatives = split(labels, scores)
    every = [(1.0, p) for p in positives] + [(0.0, n) for n in negatives]
    error = 0.0
    for b in range(15):
        inside = [(t, p) for t, p in every if min(int(p * 15), 14) == b]
        if inside:
            frequency = sum(t for t, _ in inside) / len(inside)
            confidence = sum(p for _, p in inside) / len(inside)
            error += len(inside) / len(every) * abs(frequency - confidence)
    return error


@pytest.mark.parametrize("seed", range(50))
def test_figures_equal_the_slow_loops(seed: int) -> None:
    case = random_case(seed)
    assert auc(*case) == pytest.approx(slow_auc(*case), abs=1e-12)
    assert average_precision(*case) == pytest.approx(slow_average_precision(*case), abs=1e-12)
    assert calibration_error(*case) == pytest.approx(slow_calibration_error(*case), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is what we compare with")
    labels, scores = random_case(seed)
    there = ~np.isnan(labels)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels[there], scores[there]))
    expected = metrics.average_precision_score(labels[there], scores[there])
    assert average_precision(labels, scores) == pytest.approx(expected)


def test_figures_worked_by_hand() -> None:
    labels, scores = [0, 1, NAN, 0, 1], [0.1, 0.9, 1.0, 0.2, 0.15]
    # Of four pairs, 0.15 against 0.2 alone is the wrong way round.
    assert auc(labels, scores) == pytest.approx(3 / 4)
    # The positives are found at rank 1 of 1 and at rank 2 of 3.
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    # Bins of 1/15: 0.1 and 0.9 are alone, 0.2 is alone in the fourth, 0.15 in the third.
    assert calibration_error(labels, scores) == pytest.approx((0.1 + 0.1 + 0.2 + 0.85) / 4)


def test_equal_scores_say_nothing() -> None:
    assert auc([0, 1, 1, 0, 0], [0.4] * 5) == 0.5
    assert average_precision([0, 1, 1, 0, 0], [0.4] * 5) == pytest.approx(2 / 5)


@pytest.mark.parametrize("labels", [[1, 1, NAN], [0, 0, NAN], [NAN] * 3])
def test_figures_of_ranks_need_both_classes(labels: list[float]) -> None:
    assert math.isnan(auc(labels, [0.1, 0.2, 0.3]))
    assert math.isnan(average_precision(labels, [0.1, 0.2, 0.3]))


def test_the_calibration_error_needs_a_label() -> None:
    assert math.isnan(calibration_error([NAN], [0.3]))
    assert calibration_error([1.0], [1.0]) == 0


def test_few_bins_hide_what_many_show() -> None:
    labels, scores = [1, 0], [0.1, 0.9]
    assert calibration_error(labels, scores, bins=1) == pytest.approx(0)
    assert calibration_error(labels, scores, bins=2) == pytest.approx(0.9)


def test_ranks_alone_decide_what_knows_no_threshold() -> None:
    labels, scores = random_case(3)
    assert auc(labels, scores**3 - 7) == auc(labels, scores)
    assert average_precision(labels, scores**3 - 7) == average_precision(labels, scores)


def test_turned_round_scores_turn_the_auc_round() -> None:
    labels, scores = random_case(4)
    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores))


def test_known_leaves_out_what_nobody_labelled() -> None:
    labels, scores = known([0, NAN, 1], [0.1, 0.2, 0.3])
    assert labels.tolist() == [False, True]
    assert scores.tolist() == [0.1, 0.3]
