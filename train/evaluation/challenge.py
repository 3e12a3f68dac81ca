"""Figures of binary masks by the ISIC challenge's own scoring package.

Its command for Task 2 reads folders of files named like the challenge's images; this is the same computation
from masks in memory, with the package's functions.

Source: Codella et al. 2018, arXiv:1902.03368; https://github.com/ImageMarkup/isic-challenge-scoring,
isic_challenge_scoring.task2.score
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from isic_challenge_scoring import metrics
from isic_challenge_scoring.confusion import create_binary_confusion_matrix, normalize_confusion_matrix
from numpy.typing import NDArray

MEAN: Final = "mean"
"""The mean over the indicators."""

MICRO_AVERAGE: Final = "micro_average"
"""Over the pixels of all indicators together: what the challenge ranked by."""


def count_pixels(truth: NDArray[np.bool_], mask: NDArray[np.bool_]) -> pd.Series:
    """True and false positives and negatives of one mask (H, W), as TP, TN, FP and FN."""
    return create_binary_confusion_matrix(truth, mask)


def dice(pixels: pd.Series) -> float:
    """Dice of one mask from `count_pixels`; 1 where truth and mask are empty."""
    return float(metrics.binary_dice(pixels))


def jaccard(pixels: pd.Series) -> float:
    """Jaccard of one mask from `count_pixels`; 1 where truth and mask are empty."""
    return float(metrics.binary_jaccard(pixels))


def pooled_jaccard(pixels: Mapping[str, Sequence[pd.Series]]) -> dict[str, float]:
    """Jaccard over the pixels of all images together, each image weighing the same.

    Args:
        pixels: What `count_pixels` says about each image, by indicator.

    Returns:
        The Jaccard of each indicator that has images, with MEAN and MICRO_AVERAGE; nothing where none has.
    """
    sums = {
        indicator: pd.DataFrame(list(images)).apply(normalize_confusion_matrix, axis="columns").sum()
        for indicator, images in pixels.items()
        if images
    }
    if not sums:
        return {}
    scores = {indicator: jaccard(total) for indicator, total in sums.items()}
    everything = pd.DataFrame(list(sums.values())).sum()
    return {**scores, MEAN: float(np.mean(list(scores.values()))), MICRO_AVERAGE: jaccard(everything)}
