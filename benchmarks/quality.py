"""Counts how many photographs of a training run get each note of `biounet_edge.photographs.quality`.

    python -m benchmarks.quality runs/demo/split.csv --masks ISIC2018_Task1_Training_GroundTruth

Only the side that the model was trained on is read: thresholds were chosen on it. With expert outlines of the
lesions, it is said how many of those that are called cut off touch the border in them too.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.quality import MOST_CUT, measure_quality

TOUCHES = 0.1
"""Share of the border that an outline touches where the lesion is cut off."""


def main(
    split: Annotated[Path, typer.Argument(help="split.csv of a run: image, source, side and path.")],
    masks: Annotated[Path | None, typer.Option(help="Folder with IMAGE_segmentation.png.")] = None,
    limit: Annotated[int, typer.Option(help="Photographs of each source, at most.")] = 1500,
    size: Annotated[int, typer.Option(help="Height and width of the network's input in pixels.")] = 320,
) -> None:
    """Print one row per source: photographs, and the share that has each note."""
    with split.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["side"] == "train"]
    touching: list[bool] = []
    for source in sorted({row["source"] for row in rows}):
        counts: Counter[str] = Counter()
        taken = [row for row in rows if row["source"] == source][:limit]
        for row in taken:
            quality = measure_quality(read_input(row["path"], size, size))
            notes = [note.partition(":")[0] for note in quality.notes()]
            counts.update(notes)
            counts["any"] += bool(notes)
            if quality.cut > MOST_CUT and masks and (path := _mask(masks, row["image"])):
                touching.append(_touched(path) > TOUCHES)
        shares = ", ".join(f"{note} {count / len(taken):.2%}" for note, count in sorted(counts.items()))
        typer.echo(f"{source}: {len(taken)} photographs; {shares}")
    if touching:
        typer.echo(
            f"called cut off: {len(touching)} with an outline, {np.mean(touching):.0%} touch the border"
        )


def _mask(masks: Path, image: str) -> Path | None:
    path = masks / f"{image}_segmentation.png"
    return path if path.is_file() else None


def _touched(path: Path) -> float:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float(border.mean())


if __name__ == "__main__":
    typer.run(main)
