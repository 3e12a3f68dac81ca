"""What `predict` writes, and the records it is judged by."""

import csv
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.evaluation.bootstrap import Draws
from biounet_edge.indicators import INDICATORS
from biounet_edge.results.tables import COLUMNS
from train.data.records import Record, read_mask

QUICK = Draws(resamples=50)

POINTS = dict.fromkeys(INDICATORS, 0.5)


def write_predictions(folder: Path, rows: Mapping[str, Mapping[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    numbers = {name: 0.5 for name in COLUMNS if name.endswith("_probability")}
    decisions = {"melanoma": 0, **{f"{name}_present": 1 for name in INDICATORS}}
    with (folder / "predictions.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for image_id, row in rows.items():
            cells = {**numbers, **decisions, "image": f"photos/{image_id}.jpg", "status": "ok", **row}
            table.writerow(cells)


def write_map(path: Path, values: NDArray[np.generic]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.asarray(values, np.uint8))[1].tobytes())


def labelled(count: int) -> list[Record]:
    return [Record(f"I{i}", Path(f"I{i}.jpg"), "a", melanoma=i % 2 == 0) for i in range(count)]


def with_streaks(count: int) -> list[Record]:
    return [
        Record(f"I{i}", Path(f"I{i}.jpg"), "a", presence={"streaks": i < count // 2}) for i in range(count)
    ]


def write_probabilities(folder: Path, records: list[Record], shift: int = 3) -> dict[str, NDArray[np.uint8]]:
    """The true masks, moved to the right and at a probability of 0.8; the empty one has a false spot."""
    written = {}
    for record in records:
        truth = read_mask(record.masks["streaks"])
        values = np.roll(truth, shift, axis=1).astype(np.uint8) * 204
        if not truth.any():
            values[2:4, 2:4] = 204
        write_map(folder / "probabilities" / f"{record.image_id}_streaks.png", values)
        written[record.image_id] = values
    return written
