"""Figures of probabilities against labels: the diagnosis, and whether each indicator is there.

All by torchmetrics, whose functions are fast enough for thousands of resamples.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_sensitivity_at_specificity,
    multiclass_accuracy,
)

from biounet_edge.evaluation.bootstrap import RESAMPLES, Statistic, measure
from biounet_edge.evaluation.decisions import judge_decisions
from train.evaluation.report import Diagnosis, DiagnosisFigures, Figure, Presence

CALIBRATION_BINS: Final = 15
"""Bins of equal width of the expected calibration error.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4
"""

SPECIFICITY: Final = 0.95


def judge_diagnosis(
    labels: NDArray[np.float64],
    probability: NDArray[np.float64],
    threshold: float,
    seed: int,
    resamples: int = RESAMPLES,
) -> Diagnosis | None:
    """Figures of the melanoma probability.

    Args:
        labels: 0, 1, or NaN where the diagnosis is unknown, shape (N).
        probability: Of melanoma, shape (N).
        threshold: From where on a lesion is called a melanoma.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Returns:
        The figures over known diagnoses; None where there are none.
    """
    known = ~np.isnan(labels)
    truth, scores = torch.from_numpy(labels[known]).long(), torch.from_numpy(probability[known])
    if not len(truth):
        return None
    called = (scores >= threshold).long()
    statistics = {
        "accuracy": _over(accuracy, truth, called),
        "balanced_accuracy": _over(balanced_accuracy, truth, called),
        "auc": _over(auc, truth, scores),
        "average_precision": _over(average_precision, truth, scores),
        "sensitivity_at_95_specificity": _over(sensitivity_at_specificity, truth, scores),
        "calibration_error": _over(calibration_error, truth, scores),
    }
    figures = {name: Figure.of(measure(of, len(truth), seed, resamples)) for name, of in statistics.items()}
    decisions = judge_decisions(labels, probability >= threshold)
    figures |= {
        "sensitivity": Figure.of_rate(decisions.sensitivity),
        "specificity": Figure.of_rate(decisions.specificity),
    }
    return Diagnosis(
        images=len(truth), melanomas=int(truth.sum()), figures=DiagnosisFigures.model_validate(figures)
    )


def judge_presence(
    labels: NDArray[np.float64],
    probability: NDArray[np.float64],
    threshold: float | None,
    seed: int,
    resamples: int = RESAMPLES,
) -> Presence | None:
    """Figures of an indicator's probability over the labels that are not NaN; None where all are."""
    known = ~np.isnan(labels)
    truth, scores = torch.from_numpy(labels[known]).long(), torch.from_numpy(probability[known])
    if not len(truth):
        return None
    figure = Figure.of(measure(_over(auc, truth, scores), len(truth), seed, resamples))
    value = None
    if threshold is not None:
        value = Figure.of_rate(judge_decisions(labels, probability >= threshold).positive_predictive_value)
    return Presence(images=len(truth), positives=int(truth.sum()), auc=figure, predictive_value=value)


def _over(of: Callable[[Tensor, Tensor], float], truth: Tensor, answer: Tensor) -> Statistic:
    def statistic(drawn: NDArray[np.intp]) -> float:
        chosen = torch.from_numpy(drawn)
        return of(truth[chosen], answer[chosen])

    return statistic


def accuracy(truth: Tensor, called: Tensor) -> float:
    """Part of the calls, 0 or 1, shape (N), that are right."""
    return float(binary_accuracy(called, truth, validate_args=False))


def balanced_accuracy(truth: Tensor, called: Tensor) -> float:
    """Mean of sensitivity and specificity of calls, shape (N); NaN where only one class is there."""
    if not _both_classes(truth):
        return math.nan
    return float(multiclass_accuracy(called, truth, 2, average="macro", validate_args=False))


def auc(truth: Tensor, scores: Tensor) -> float:
    """Area under the ROC curve; NaN where only one class is there."""
    return float(binary_auroc(scores, truth, validate_args=False)) if _both_classes(truth) else math.nan


def average_precision(truth: Tensor, scores: Tensor) -> float:
    """Area under the precision-recall curve by its steps; NaN where only one class is there."""
    if not _both_classes(truth):
        return math.nan
    return float(binary_average_precision(scores, truth, validate_args=False))


def sensitivity_at_specificity(truth: Tensor, scores: Tensor) -> float:
    """Highest sensitivity at a specificity of at least 95 %; NaN where only one class is there."""
    if not _both_classes(truth):
        return math.nan
    return float(binary_sensitivity_at_specificity(scores, truth, SPECIFICITY, validate_args=False)[0])


def calibration_error(truth: Tensor, probability: Tensor) -> float:
    """Expected calibration error: the gap between probability and frequency in bins, mean over images."""
    return float(binary_calibration_error(probability, truth, CALIBRATION_BINS, validate_args=False))


def _both_classes(truth: Tensor) -> bool:
    return bool(truth.any() and not truth.all())
