"""Figures of decisions, and the operating points that make them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from biounet_edge.evaluation.probabilities import known

Z: Final = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Rate:
    """A part of a number of images, with its 95 % interval."""

    hits: int
    """Images of the part."""
    images: int
    """Images in all."""

    @property
    def value(self) -> float:
        """Hits / images; NaN where there is no image."""
        return self.hits / self.images if self.images else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of Wilson's score interval; (0, 1) where there is no image.

        Source: Wilson 1927, doi:10.1080/01621459.1927.10502953
        """
        if not self.images:
            return 0.0, 1.0
        n, p = self.images, self.value
        centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, float(centre - half)), min(1.0, float(centre + half))


@dataclass(frozen=True)
class Decisions:
    """What an operating point does on labelled images."""

    sensitivity: Rate
    """Positives that are called."""
    specificity: Rate
    """Negatives that are not called."""
    positive_predictive_value: Rate
    """Calls that are right, at the prevalence of these images."""
    negative_predictive_value: Rate
    """Missing calls that are right, at the prevalence of these images."""


def judge_decisions(truth: ArrayLike, decisions: ArrayLike) -> Decisions:
    """Judge what an operating point decided.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        decisions: 0 or 1, shape (N).
    """
    labels, calls = known(truth, decisions)
    called = calls > 0.5
    right = called == labels
    return Decisions(
        *(Rate(int(right[chosen].sum()), int(chosen.sum())) for chosen in (labels, ~labels, called, ~called))
    )


def threshold_at_sensitivity(truth: ArrayLike, probability: ArrayLike, sensitivity: float) -> float:
    """Highest threshold that calls at least a part of the positives.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        probability: Of 1, in [0, 1], shape (N).
        sensitivity: That part, in (0, 1].

    Returns:
        A probability that one of the positives has; 0.5 where there is none.
    """
    labels, scores = known(truth, probability)
    positives = np.sort(scores[labels])[::-1]
    if not len(positives):
        return 0.5
    return float(positives[int(np.ceil(sensitivity * len(positives) - 1e-9)) - 1])


def threshold_at_predictive_value(truth: ArrayLike, probability: ArrayLike, least: float) -> float | None:
    """Lowest threshold whose calls are surely right at least that often.

    Surely: the lower end of the 95 % interval of the positive predictive value is at least that high.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N), at the prevalence that the decision is for.
        probability: Of 1, in [0, 1], shape (N).
        least: Smallest positive predictive value, in (0, 1).

    Returns:
        A probability that one of the images has; None where no threshold is good enough.
    """
    labels, scores = known(truth, probability)
    for threshold in np.unique(scores):
        called = scores >= threshold
        if Rate(int(labels[called].sum()), int(called.sum())).interval[0] >= least:
            return float(threshold)
    return None
