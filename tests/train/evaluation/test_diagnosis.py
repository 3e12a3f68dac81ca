import math

import numpy as np
import pytest
import torch

from biounet_edge.evaluation import probabilities
from biounet_edge.evaluation.decisions import Rate
from train.evaluation.diagnosis import calibration_error, judge_diagnosis, judge_presence

NAN = math.nan


def random_case(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some unknown, and probabilities with ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(float)
    probability = np.round(np.clip(0.3 * labels + 0.7 * rng.random(count), 0, 1), 2)
    labels[rng.random(count) < 0.1] = NAN
    return labels, probability


def slow_figures(labels: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float]:
    positive = [p for t, p in zip(labels, probability, strict=True) if t == 1]
    negative = [p for t, p in zip(labels, probability, strict=True) if t == 0]
    hits, rejections = sum(p >= threshold for p in positive), sum(p < threshold for p in negative)
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    precision_sum, found = 0.0, 0.0
    sensitivity = 0.0
    for cut in sorted({*positive, *negative}, reverse=True):
        true, false = sum(p >= cut for p in positive), sum(p >= cut for p in negative)
        precision_sum += (true / len(positive) - found) * true / (true + false)
        found = true / len(positive)
        if false / len(negative) <= 0.05:
            sensitivity = max(sensitivity, found)
    error, count = 0.0, len(positive) + len(negative)
    for b in range(15):
        inside = [(1, p) for p in positive if b <= p * 15 < b + 1 or (p == 1 and b == 14)]
        inside += [(0, p) for p in negative if b <= p * 15 < b + 1 or (p == 1 and b == 14)]
        error += abs(sum(t for t, _ in inside) - sum(p for _, p in inside)) / count
    return {
        "accuracy": (hits + rejections) / count,
        "balanced_accuracy": (hits / len(positive) + rejections / len(negative)) / 2,
        "auc": wins / (len(positive) * len(negative)),
        "average_precision": precision_sum,
        "sensitivity_at_95_specificity": sensitivity,
        "calibration_error": error,
        "sensitivity": hits / len(positive),
        "specificity": rejections / len(negative),
    }


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_the_slow_loop(seed: int) -> None:
    labels, probability = random_case(seed)
    diagnosis = judge_diagnosis(labels, probability, 0.4, 0, 2)
    assert diagnosis is not None
    values = {name: figure.value for name, figure in diagnosis.figures}
    assert values == pytest.approx(slow_figures(labels, probability, 0.4), abs=1e-6)


def test_figures_worked_by_hand() -> None:
    labels = np.array([0.0, 0.0, 1.0, 1.0, NAN])
    diagnosis = judge_diagnosis(labels, np.array([0.1, 0.6, 0.5, 0.9, 0.7]), 0.5, 0, 50)
    assert diagnosis is not None
    assert (diagnosis.images, diagnosis.melanomas) == (4, 2)
    values = {name: figure.value for name, figure in diagnosis.figures}
    assert values == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced_accuracy": 3 / 4,
            "auc": 3 / 4,
            # Found at rank 1 of 1 and at rank 2 of 3.
            "average_precision": (1 + 2 / 3) / 2,
            "sensitivity_at_95_specificity": 1 / 2,
            "calibration_error": (0.1 + 0.6 + 0.5 + 0.1) / 4,
            "sensitivity": 1.0,
            "specificity": 1 / 2,
        }
    )


def test_one_class_alone_has_accuracy_calibration_and_specificity_only() -> None:
    diagnosis = judge_diagnosis(np.zeros(5), np.linspace(0.1, 0.9, 5), 0.5, 0, 20)
    assert diagnosis is not None
    measured = {name for name, figure in diagnosis.figures if figure is not None}
    assert measured == {"accuracy", "calibration_error", "specificity"}


def test_unknown_diagnoses_are_not_judged() -> None:
    assert judge_diagnosis(np.array([NAN, NAN]), np.array([0.2, 0.3]), 0.5, 0, 10) is None


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    truth = torch.tensor([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2)
    assert calibration_error(truth, torch.tensor([0.3] * 10 + [0.8] * 10)) == pytest.approx(0, abs=1e-6)


def test_ranks_alone_decide_the_figures_that_know_no_threshold() -> None:
    labels, probability = random_case(3)
    plain, squared = (judge_diagnosis(labels, p, 0.4, 0, 20) for p in (probability, probability**2))
    assert plain is not None
    assert squared is not None
    for name in ("auc", "average_precision", "sensitivity_at_95_specificity"):
        assert getattr(plain.figures, name) == getattr(squared.figures, name)
    assert plain.figures.calibration_error != squared.figures.calibration_error


def test_presence_leaves_out_unknown_labels() -> None:
    presence = judge_presence(np.array([0, 1, NAN, 0, 1]), np.array([0.1, 0.9, 1.0, 0.2, 0.15]), None, 0, 50)
    assert presence is not None
    assert presence.auc is not None
    assert (presence.images, presence.positives) == (4, 2)
    assert presence.auc.value == pytest.approx(0.75)


def test_presence_of_one_class_has_no_auc() -> None:
    presence = judge_presence(np.ones(3), np.array([0.1, 0.2, 0.3]), 0.5, 0, 10)
    assert presence is not None
    assert presence.auc is None
    assert judge_presence(np.array([NAN]), np.array([0.1]), 0.5, 0, 10) is None


def test_rates_at_the_operating_point_have_wilsons_intervals() -> None:
    labels = np.array([1.0] * 4 + [0.0] * 6 + [NAN])
    diagnosis = judge_diagnosis(labels, np.array([0.9] * 3 + [0.1] * 7 + [0.9]), 0.5, 0, 20)
    assert diagnosis is not None
    for name, rate in (("sensitivity", Rate(3, 4)), ("specificity", Rate(6, 6))):
        figure = getattr(diagnosis.figures, name)
        assert (figure.value, figure.low, figure.high) == (rate.value, *rate.interval)


def test_the_predictive_value_is_that_of_what_is_called_present() -> None:
    labels, probability = np.array([1.0, 0.0, 1.0, 0.0, NAN]), np.array([0.9, 0.8, 0.7, 0.1, 0.9])
    presence = judge_presence(labels, probability, 0.7, 0, 20)
    assert presence is not None
    assert presence.predictive_value is not None
    assert presence.predictive_value.value == pytest.approx(2 / 3)


@pytest.mark.parametrize("threshold", [None, 0.95])
def test_without_a_call_there_is_no_predictive_value(threshold: float | None) -> None:
    presence = judge_presence(np.array([1.0, 0.0]), np.array([0.9, 0.8]), threshold, 0, 20)
    assert presence is not None
    assert presence.predictive_value is None
    assert presence.auc is not None


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_those_without_pytorch(seed: int) -> None:
    labels, probability = random_case(seed)
    diagnosis = judge_diagnosis(labels, probability, 0.4, 0, 2)
    assert diagnosis is not None
    figures = diagnosis.figures
    assert figures.auc is not None
    assert figures.average_precision is not None
    # torchmetrics computes in float32.
    assert figures.auc.value == pytest.approx(probabilities.auc(labels, probability), abs=1e-6)
    precision = probabilities.average_precision(labels, probability)
    assert figures.average_precision.value == pytest.approx(precision, abs=1e-6)
    error = probabilities.calibration_error(labels, probability)
    assert figures.calibration_error.value == pytest.approx(error, abs=1e-6)
