"""Confidence intervals by the bootstrap over images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
"""Bootstrap resamples of an interval."""

Statistic = Callable[[NDArray[np.intp]], float]
"""A figure of the images with these indices; NaN where they do not define it."""


@dataclass(frozen=True)
class Draws:
    """How the bootstrap draws."""

    seed: int = 0
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


def percentile_interval(
    statistic: Statistic, count: int, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of a statistic.

    Args:
        statistic: What is measured, of indices drawn with replacement.
        count: Number of images.
        seed: Of the draws.
        resamples: How often they are drawn; draws that do not define the statistic are left out.

    Returns:
        Lower and upper end; NaN where no draw defines it.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
    """
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, count, count)) for _ in range(resamples)])
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def measure(statistic: Statistic, count: int, seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """Return a figure of all images with its interval; None where neither they nor a draw define it."""
    value = statistic(np.arange(count)) if count else math.nan
    if math.isnan(value):
        return None
    low, high = percentile_interval(statistic, count, seed, resamples)
    return None if math.isnan(low) else Interval(value, low, high)


def measure_mean(values: NDArray[np.float64], seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """Return the mean of one number per image, shape (N), with its interval; None where there is no image."""
    return measure(lambda drawn: float(values[drawn].mean()), len(values), seed, resamples)
