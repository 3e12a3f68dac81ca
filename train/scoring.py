"""Figures of an exported model, from the files that `biounet-edge predict` wrote: no PyTorch in between."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.evaluation.bootstrap import RESAMPLES, Interval, measure, measure_mean
from biounet_edge.evaluation.decisions import Decisions, judge_decisions
from biounet_edge.evaluation.masks import continuous_dice, dice, jaccard
from biounet_edge.evaluation.probabilities import auc, average_precision, calibration_error
from biounet_edge.indicators import INDICATORS
from train.config import TASKS, TrainConfig
from train.data.dataset import labels_of
from train.data.records import TRAITS, Record, read_annotated, read_mask
from train.data.splits import Side, split_records
from train.evaluation.challenge import count_pixels, pooled_jaccard
from train.network import MELANOMA

AGES: Final = (40, 60)
"""Years at which age groups begin."""

PART: Final = "part"
"""Trait of an image: the other source that has it too."""

FEWEST: Final = 10
"""Melanomas, and other lesions, that a subgroup needs to be judged."""


@dataclass(frozen=True)
class DiagnosisFigures:
    """The diagnosis of one group of images."""

    group: str
    images: int
    melanomas: int
    auc: Interval | None
    """None where only one class is there, as with average_precision."""
    average_precision: Interval | None
    calibration_error: Interval | None
    decisions: Decisions
    """At the bundle's operating point."""


@dataclass(frozen=True)
class PresenceFigures:
    """Whether one indicator is there."""

    indicator: str
    images: int
    positives: int
    auc: Interval | None
    """None where only one class is there."""
    decisions: Decisions | None
    """At the bundle's operating point; None where it has none."""


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


@dataclass(frozen=True)
class Draws:
    """Of the bootstrap."""

    seed: int = 0
    resamples: int = RESAMPLES


class Predictions:
    """What a run of `biounet-edge predict` says about some records."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        """Read the table.

        Args:
            folder: What `biounet-edge predict --output` wrote.
            records: Images with their labels; each must have been predicted.

        Raises:
            InputError: If there is no table, or a prediction is missing or failed.
        """
        rows = _read_table(folder)
        missing = [record.image_id for record in records if record.image_id not in rows]
        if missing:
            raise InputError(
                f"{folder} has no successful prediction of {len(missing)} images, such as {missing[0]}; "
                "predict them, each under its own name"
            )
        self.folder = folder
        self.records = list(records)
        self._rows = [rows[record.image_id] for record in records]
        self._labels = np.array([labels_of(record) for record in records]).reshape(-1, len(TASKS))

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, shape (N), NaN where its cell is empty."""
        return np.array([float(row[name] or "nan") for row in self._rows])

    def labels(self, task: str) -> NDArray[np.float64]:
        """0, 1, or NaN where unknown, shape (N)."""
        column: NDArray[np.float64] = self._labels[:, TASKS.index(task)]
        return column

    def map(self, kind: str, index: int, indicator: str) -> NDArray[np.float64]:
        """A saved map in [0, 1], shape (H0, W0).

        Raises:
            InputError: If it was not saved.
            DatasetError: If the file is damaged.
        """
        path = self.folder / kind / f"{self.records[index].image_id}_{indicator}.png"
        if not path.is_file():
            raise InputError(f"expected {kind} at {path}; predict with `--save {kind}`")
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise DatasetError(f"{path} cannot be decoded; predict again")
        return np.asarray(pixels / 255)


def held_out(config: TrainConfig, data_root: Path, side: Side, source: str) -> list[Record]:
    """Images of one source on one side of a run's split, those that another source has too marked as a part.

    Raises:
        InputError: If the configuration has no such source, or nothing of it stands on that side.
    """
    sources = read_annotated(config.data, data_root)
    names = [entry.name for entry, _ in sources]
    if source not in names:
        raise InputError(f"the configuration has no source {source!r}; it has {', '.join(names)}")
    split = split_records(sources, config.data.split_seed)
    others = {r.image_id: entry.name for entry, of in sources if entry.name != source for r in of}
    chosen = [
        replace(
            r, traits={**r.traits, PART: f"also in {others[r.image_id]}" if r.image_id in others else source}
        )
        for r in split[side]
        if r.source == source
    ]
    if not chosen:
        raise InputError(f"no image of {source} stands on side {side}; choose another source or side")
    return chosen


def score_diagnosis(predictions: Predictions, draws: Draws) -> Iterator[DiagnosisFigures]:
    """Judge the diagnosis of all images, and of each subgroup that is large enough."""
    truth, probability = predictions.labels(MELANOMA), predictions.column("melanoma_probability")
    called = predictions.column("melanoma")
    for group, members in _groups(predictions.records):
        labels, scores, decisions = truth[members], probability[members], called[members]
        there = ~np.isnan(labels)
        melanomas = int((labels == 1).sum())
        small = min(melanomas, int(there.sum()) - melanomas) < FEWEST
        if not there.any() or (small and ":" in group):
            continue
        yield DiagnosisFigures(
            group,
            int(there.sum()),
            melanomas,
            _measure(auc, labels[there], scores[there], draws),
            _measure(average_precision, labels[there], scores[there], draws),
            _measure(calibration_error, labels[there], scores[there], draws),
            judge_decisions(labels, decisions),
        )


def score_presence(predictions: Predictions, draws: Draws) -> Iterator[PresenceFigures]:
    """Judge whether each indicator is there, over the images whose label is known."""
    for indicator in INDICATORS:
        labels = predictions.labels(indicator)
        there = ~np.isnan(labels)
        if not there.any():
            continue
        probability = predictions.column(f"{indicator}_probability")
        present = predictions.column(f"{indicator}_present")
        yield PresenceFigures(
            indicator,
            int(there.sum()),
            int((labels == 1).sum()),
            _measure(auc, labels[there], probability[there], draws),
            None if np.isnan(present).all() else judge_decisions(labels, present),
        )


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
        for group, members in _groups(predictions.records, traits=False):
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


def _groups(records: Sequence[Record], *, traits: bool = True) -> Iterator[tuple[str, list[int]]]:
    """Names and indices of the groups that are judged apart: all, and subgroups as "trait: value"."""
    yield "all", list(range(len(records)))
    for name in (PART, *TRAITS) if traits else (PART,):
        members: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            value = record.traits.get(name, "unknown")
            members.setdefault(_age_group(value) if name == "age" else value, []).append(index)
        if len(members) > 1:
            yield from ((f"{name}: {value}", of) for value, of in sorted(members.items()))


def _age_group(age: str) -> str:
    if age == "unknown":
        return age
    young, old = AGES
    try:
        years = float(age)
    except ValueError as error:
        raise DatasetError(
            f"expected years or an empty cell for an age, got {age!r}; correct the table of metadata"
        ) from error
    return (
        f"under {young}" if years < young else f"{young} to {old - 1}" if years < old else f"{old} and older"
    )


def _measure(
    figure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    labels: NDArray[np.float64],
    scores: NDArray[np.float64],
    draws: Draws,
) -> Interval | None:
    return measure(
        lambda drawn: figure(labels[drawn], scores[drawn]), len(labels), draws.seed, draws.resamples
    )


def _read_table(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "predictions.csv"
    if not path.is_file():
        raise InputError(
            f"expected {path}, found none; run `biounet-edge predict ... --output {folder}` first"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {Path(row["image"]).stem: row for row in csv.DictReader(file) if row["status"] == "ok"}
