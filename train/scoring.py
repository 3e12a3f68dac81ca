"""Figures of an exported model, from the files that `biounet-edge predict` wrote: no PyTorch in between."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from train.config import TASKS, TrainConfig
from train.data.dataset import labels_of
from train.data.records import Record, read_annotated, read_mask
from train.data.splits import Side, split_records
from biounet_edge.evaluation.bootstrap import RESAMPLES, percentile_interval
from biounet_edge.evaluation.masks import continuous_dice
from biounet_edge.evaluation.probabilities import auc


@dataclass(frozen=True)
class Figure:
    """One measured value with what surrounds it."""

    name: str
    value: float
    low: float
    """Lower end of the 95 % bootstrap interval over images."""
    high: float
    chance: float
    """What a model that has learnt nothing reaches."""
    images: int
    positives: int
    """Images that have the finding."""


def held_out(config: TrainConfig, data_root: Path, side: Side, source: str) -> list[Record]:
    """Images of one source on one side of a run's split.

    Raises:
        InputError: If the configuration has no such source, or nothing of it stands on that side.
    """
    sources = read_annotated(config.data, data_root)
    names = [entry.name for entry, _ in sources]
    if source not in names:
        raise InputError(f"the configuration has no source {source!r}; it has {', '.join(names)}")
    split = split_records(sources, config.data.split_seed)
    chosen = [record for record in split[side] if record.source == source]
    if not chosen:
        raise InputError(f"no image of {source} stands on side {side}; choose another source or side")
    return chosen


def score_predictions(
    folder: Path, records: Sequence[Record], seed: int = 0, resamples: int = RESAMPLES
) -> Iterator[Figure]:
    """Judge the predictions of some images.

    Args:
        folder: What `biounet-edge predict --output` wrote; with `--save probabilities` masks are judged.
        records: The images with their labels; each must have been predicted.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Yields:
        `auc_<task>` where both classes are there, and `cdc_<indicator>` over filled masks.

    Raises:
        InputError: If a prediction is missing or failed.
    """
    rows = _read_predictions(folder)
    missing = [r.image_id for r in records if r.image_id not in rows]
    if missing:
        raise InputError(
            f"{folder} has no successful prediction of {len(missing)} images, such as {missing[0]}; "
            "predict them, each under its own name"
        )
    labels = np.array([labels_of(record) for record in records])  # (N, T)
    draws = (seed, resamples)
    for column, task in enumerate(TASKS):
        name = "melanoma_probability" if task == "melanoma" else f"{task}_probability"
        scores = np.array([float(rows[record.image_id][name]) for record in records])
        if not math.isnan(auc(labels[:, column], scores)):
            yield _auc_figure(task, labels[:, column], scores, draws)
    for indicator in INDICATORS:
        filled = [r for r in records if r.presence.get(indicator) and indicator in r.masks]
        if filled:
            yield _dice_figure(indicator, filled, folder, draws)


def _read_predictions(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "predictions.csv"
    if not path.is_file():
        raise InputError(
            f"expected {path}, found none; run `biounet-edge predict ... --output {folder}` first"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {Path(row["image"]).stem: row for row in csv.DictReader(file) if row["status"] == "ok"}


def _auc_figure(
    task: str, labels: NDArray[np.float64], scores: NDArray[np.float64], draws: tuple[int, int]
) -> Figure:
    known = ~np.isnan(labels)
    labels, scores = labels[known], scores[known]
    low, high = percentile_interval(lambda drawn: auc(labels[drawn], scores[drawn]), len(labels), *draws)
    return Figure(f"auc_{task}", auc(labels, scores), low, high, 0.5, len(labels), int(labels.sum()))


def _dice_figure(indicator: str, records: Sequence[Record], folder: Path, draws: tuple[int, int]) -> Figure:
    dice, everywhere = [], []
    for record in records:
        truth = read_mask(record.masks[indicator])
        dice.append(continuous_dice(truth, _read_probability(folder, record.image_id, indicator)))
        everywhere.append(continuous_dice(truth, np.ones(truth.shape)))
    values = np.array(dice)
    low, high = percentile_interval(lambda drawn: float(values[drawn].mean()), len(values), *draws)
    chance = float(np.mean(everywhere))
    return Figure(f"cdc_{indicator}", float(values.mean()), low, high, chance, len(values), len(values))


def _read_probability(folder: Path, image_id: str, indicator: str) -> NDArray[np.float64]:
    path = folder / "probabilities" / f"{image_id}_{indicator}.png"
    if not path.is_file():
        raise InputError(f"expected the mask probability at {path}; predict with `--save probabilities`")
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise DatasetError(f"{path} cannot be decoded; predict again")
    return pixels / 255


def format_table(figures: Sequence[Figure]) -> str:
    """A Markdown table of figures."""
    lines = [
        "| figure | value | 95 % interval | chance | images | with finding |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.value:.3f} | {f.low:.3f} to {f.high:.3f} | {f.chance:.3f} "
        f"| {f.images} | {f.positives} |"
        for f in figures
    ]
    return "\n".join(lines)
