"""How well maps cover the true masks of one indicator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biounet_edge.evaluation.bootstrap import RESAMPLES, measure_mean
from biounet_edge.evaluation.masks import continuous_dice
from train.evaluation.challenge import count_pixels, dice, jaccard
from train.evaluation.report import Figure, Localisation

THRESHOLDS: Final = tuple(f"{tenths / 10:.1f}" for tenths in range(10))
"""Where the paper's Table 6 cuts a map."""

HEATMAP_THRESHOLD: Final = 0.6
"""Where a heatmap becomes a binary mask: the paper's, section 5.3."""


@dataclass(frozen=True)
class MapScore:
    """One map against one true mask."""

    filled: bool
    """Whether the true mask has any pixel."""
    continuous_dice: float
    """Of the map as it is."""
    continuous_dice_reported: float
    """Of the map as the software reports it: empty where the indicator is called absent."""
    continuous_dice_everything: float
    """Of a mask of the whole image."""
    continuous_dice_at: dict[str, float]
    """By threshold, with lower values set to 0; empty for an empty truth."""
    pixels: pd.Series
    """Pixel counts of the binary mask, whether the indicator is called present or not."""
    pixels_reported: pd.Series
    """Pixel counts of the binary mask as the software reports it."""


def score_map(
    truth: NDArray[np.bool_], heatmap: NDArray[np.float32], present: bool, mask_threshold: float
) -> MapScore:
    """Judge one map.

    Args:
        truth: Expert mask, shape (H, W).
        heatmap: Any method's map in [0, 1], shape (H, W).
        present: Whether the model says that the indicator is there at all.
        mask_threshold: From where on a pixel belongs to the binary mask.
    """
    filled = bool(truth.any())
    mask = heatmap >= mask_threshold
    return MapScore(
        filled,
        continuous_dice(truth, heatmap),
        continuous_dice(truth, heatmap * present),
        continuous_dice(truth, np.ones(truth.shape)),
        {cut: continuous_dice(truth, np.where(heatmap >= float(cut), heatmap, 0)) for cut in THRESHOLDS}
        if filled
        else {},
        count_pixels(truth, mask),
        count_pixels(truth, mask & present),
    )


def summarise(scores: Sequence[MapScore], seed: int, resamples: int = RESAMPLES) -> Localisation:
    """Figures of one method and indicator over all images with a known mask, with intervals over images."""
    filled = [score for score in scores if score.filled]
    means = {
        "cdc_filled": [score.continuous_dice for score in filled],
        "cdc_all": [score.continuous_dice_reported for score in scores],
        "dice": [dice(score.pixels) for score in filled],
        "jaccard": [jaccard(score.pixels) for score in filled],
    }
    at = {
        cut: float(np.mean([score.continuous_dice_at[cut] for score in filled]))
        for cut in (THRESHOLDS if filled else ())
    }
    figures = {
        name: Figure.of(measure_mean(np.array(values), seed, resamples)) for name, values in means.items()
    }
    everything = float(np.mean([score.continuous_dice_everything for score in filled])) if filled else None
    return Localisation(
        images=len(scores), images_filled=len(filled), cdc_filled_at=at, cdc_everything=everything, **figures
    )
