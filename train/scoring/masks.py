"""Where each indicator is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biounet_edge.evaluation.bootstrap import Draws, Interval, measure_mean
from biounet_edge.evaluation.masks import continuous_dice, dice, jaccard
from biounet_edge.indicators import INDICATORS
from train.data.held_out import groups_of
from train.data.records import read_mask
from train.evaluation.challenge import count_pixels, pooled_jaccard
from train.scoring.predictions import Predictions


@dataclass(frozen=True)
class MaskFigures:
    """Where one indicator is, at the photographs' own size, over the images whose mask is known."""

    group: str
    indicator: str
    images: int
    """Empty masks included."""
    filled: int
    """Images whose true mask is not empty."""
    cdc_filled: Interval
    """Continuous Dice of the mask probability, mean over filled masks."""
    cdc_heatmap: Interval | None
    """The same of the last block's Grad-CAM; None where heatmaps were not saved."""
    cdc_everything: float
    """The same of a mask of the whole photograph."""
    cdc_all: Interval
    """Continuous Dice over all known masks, empty where the indicator is not reported as present."""
    dice: Interval
    """Dice of the mask cut at its operating point, mean over filled masks."""
    jaccard: Interval
    """Jaccard of the same."""
    pooled_jaccard: float
    """Jaccard over the pixels of all images, as reported: that of ISIC 2018 Task 2."""


def score_masks(
    predictions: Predictions,
    thresholds: Mapping[str, float],
    draws: Draws,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[MaskFigures]:
    """Judge the masks of a run with `--save probabilities`, of all images and of each part.

    Args:
        predictions: The run.
        thresholds: Operating point of each indicator's mask.
        draws: Of the bootstrap.
        advance: Called after each map.

    Raises:
        InputError: If a map was not saved.
    """
    heatmaps = (predictions.folder / "heatmaps").is_dir()
    for indicator in INDICATORS:
        reported = np.nan_to_num(predictions.column(f"{indicator}_present")) == 1
        maps = {}
        for index, record in enumerate(predictions.records):
            if indicator in record.masks:
                maps[index] = _MapScore.of(
                    predictions, index, indicator, thresholds[indicator], bool(reported[index]), heatmaps
                )
                advance()
        for group, members in groups_of(predictions.records, traits=False):
            chosen = [maps[index] for index in members if index in maps]
            if any(score.filled for score in chosen):
                yield _summarise(group, indicator, chosen, draws)


@dataclass(frozen=True)
class _MapScore:
    """One map against one true mask."""

    filled: bool
    cdc: float
    cdc_reported: float
    cdc_heatmap: float | None
    cdc_everything: float
    dice: float
    jaccard: float
    pixels: pd.Series
    """Pixel counts of what was reported, for the challenge's package."""

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        index: int,
        indicator: str,
        threshold: float,
        reported: bool,
        heatmaps: bool,
    ) -> "_MapScore":
        truth = read_mask(predictions.records[index].masks[indicator])
        probability = predictions.map("probabilities", index, indicator)
        mask = probability >= threshold
        heatmap = predictions.map("heatmaps", index, indicator) if heatmaps else None
        return cls(
            bool(truth.any()),
            continuous_dice(truth, probability),
            continuous_dice(truth, probability * reported),
            None if heatmap is None else continuous_dice(truth, heatmap),
            continuous_dice(truth, np.ones(truth.shape)),
            dice(truth, mask),
            jaccard(truth, mask),
            count_pixels(truth, mask & reported),
        )


def _summarise(group: str, indicator: str, scores: Sequence[_MapScore], draws: Draws) -> MaskFigures:
    filled = [score for score in scores if score.filled]

    def mean(values: Sequence[float]) -> Interval:
        interval = measure_mean(np.array(values), draws.seed, draws.resamples)
        assert interval is not None  # there is at least one value
        return interval

    heatmaps = [score.cdc_heatmap for score in filled if score.cdc_heatmap is not None]
    return MaskFigures(
        group,
        indicator,
        len(scores),
        len(filled),
        mean([score.cdc for score in filled]),
        mean(heatmaps) if heatmaps else None,
        float(np.mean([score.cdc_everything for score in filled])),
        mean([score.cdc_reported for score in scores]),
        mean([score.dice for score in filled]),
        mean([score.jaccard for score in filled]),
        pooled_jaccard({indicator: [score.pixels for score in scores]})[indicator],
    )
