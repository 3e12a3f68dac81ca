"""What `biounet-edge predict` wrote about labelled images."""

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import DatasetError, InputError
from train.data.dataset import labels_of
from train.data.records import Record
from train.tasks import TASKS


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
                "predict them, each under its own name, and with --accept-unfamiliar"
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


def _read_table(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "predictions.csv"
    if not path.is_file():
        raise InputError(
            f"expected {path}, found none; run `biounet-edge predict ... --output {folder}` first"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = {Path(row["image"]).stem: row for row in csv.DictReader(file)}
    return {stem: row for stem, row in rows.items() if row["melanoma_probability"]}
