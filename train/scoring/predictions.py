"""What `biounet-edge predict` wrote about labelled images, and the groups that are judged apart."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import DatasetError, InputError
from train.config.run import TrainConfig
from train.data.dataset import labels_of
from train.data.records import TRAITS, Record, read_annotated
from train.data.splits import Side, split_records
from train.tasks import TASKS

AGES: Final = (40, 60)
"""Years at which age groups begin."""

PART: Final = "part"
"""Trait of an image: the other source that has it too."""


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


def groups_of(records: Sequence[Record], *, traits: bool = True) -> Iterator[tuple[str, list[int]]]:
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


def _read_table(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "predictions.csv"
    if not path.is_file():
        raise InputError(
            f"expected {path}, found none; run `biounet-edge predict ... --output {folder}` first"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {Path(row["image"]).stem: row for row in csv.DictReader(file) if row["status"] == "ok"}
