"""Figures of probabilities against labels, whatever the operating point."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS: Final = 15
"""Bins of equal width of the expected calibration error.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4
"""


def auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve.

    It is the chance that a positive scores higher than a negative, ties counting half: computed from ranks.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        score: Any number that grows with the chance of 1, shape (N).

    Returns:
        In [0, 1], over the labels that are not NaN; NaN where only one class is there.

    Source:
        Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747
    """
    labels, scores = known(truth, score)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2)[place]  # mean rank of each score among its equals, from 1
    return float((rank[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the positives, each at the threshold of its own score.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        score: Any number that grows with the chance of 1, shape (N).

    Returns:
        In [0, 1]; NaN where only one class is there.
    """
    labels, scores = known(truth, score)
    if not labels.any() or labels.all():
        return math.nan
    thresholds = np.unique(scores)[::-1]
    order = np.sort(scores)
    called = len(scores) - np.searchsorted(order, thresholds)
    hits = labels.sum() - np.searchsorted(np.sort(scores[labels]), thresholds)
    recall_gained = np.diff(hits, prepend=0) / labels.sum()
    return float((recall_gained * hits / called).sum())


def calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Compute the expected calibration error: the gap between probability and frequency in equal bins.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        probability: Of 1, in [0, 1], shape (N).
        bins: Number of bins.

    Returns:
        Mean gap over the images, in [0, 1]; NaN where there is no label.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, equation 3
    """
    labels, values = known(truth, probability)
    if not len(labels):
        return math.nan
    place = np.minimum((values * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=labels - values, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def known(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return labels as bool and scores, both of shape (K), of the K images whose label is not NaN."""
    labels, scores = np.asarray(truth, dtype=float), np.asarray(score, dtype=float)
    there = ~np.isnan(labels)
    return labels[there] > 0.5, scores[there]
