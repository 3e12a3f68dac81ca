"""Real photographs with rendered indicators painted into their lesions: true masks on real skin."""

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import read_input
from train.data.records import IMAGE_SUFFIXES, read_mask
from train.synthesis import paint_indicators

SMALLEST_LESION = 0.04
"""Part of the photograph; in a smaller lesion nothing can be painted that could be recognised."""

FEWEST, MOST = 1, 3
"""Indicators painted into one photograph, at most as many as it lacks."""


def write_painted(
    images: Path, lesion_masks: Path, presence: Path, out: Path, seed: int, size_px: int
) -> Iterator[int]:
    """Write a data set in ISIC 2018 Task 2 layout, one photograph after the other.

    Only indicators that experts did not find are painted, so that the mask is the whole truth; those that
    are absent before and after get an empty mask, those that the photograph really has get none. Image ids
    are kept: a photograph and its painted copy belong on one side of a split.

    Args:
        images: Folder of photographs.
        lesion_masks: Folder of `<image>_segmentation.png`.
        presence: CSV with `image` and a 0/1 column for each indicator.
        out: New folder; gets `images/` and `masks/`.
        seed: Chance of an image comes from (seed, its id).
        size_px: Height and width of what is written.

    Yields:
        The number of images done so far.

    Raises:
        InputError: If `out` is not empty.
        DatasetError: If a table, folder or mask is missing.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; give a new folder, or remove this one")
    if not presence.is_file():
        raise DatasetError(
            f"expected the presence table at {presence}, found none; it names the indicators an image has"
        )
    found = {path.stem: path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir()
    with presence.open(newline="", encoding="utf-8-sig") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    for done, row in enumerate(rows, start=1):
        image_id = row["image"]
        if image_id not in found:
            raise DatasetError(f"{presence} names {image_id}, which is not in {images}; complete the images")
        absent = [name for name in INDICATORS if row[name] == "0"]
        lesion = lesion_masks / f"{image_id}_segmentation.png"
        if absent and lesion.is_file():
            _paint_one(
                found[image_id],
                lesion,
                absent,
                out,
                np.random.default_rng([seed, _number(image_id)]),
                size_px,
            )
        yield done


def _number(image_id: str) -> int:
    return int.from_bytes(image_id.encode(), "little")


def _paint_one(
    photograph: Path, lesion: Path, absent: list[str], out: Path, rng: np.random.Generator, size_px: int
) -> None:
    image = read_input(photograph, size_px, size_px)
    mask = (
        cv2.resize(read_mask(lesion).astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
        >= 0.5
    )
    if mask.mean() < SMALLEST_LESION:
        return
    count = min(len(absent), int(rng.integers(FEWEST, MOST + 1)))
    chosen = [absent[index] for index in rng.choice(len(absent), count, replace=False)]
    painted = paint_indicators(image, mask, chosen, rng)
    _write(out / "images" / f"{photograph.stem}.jpg", cv2.cvtColor(painted.image, cv2.COLOR_RGB2BGR))
    for name in absent:
        _write(
            out / "masks" / f"{photograph.stem}_attribute_{name}.png",
            painted.indicator_masks[name] * np.uint8(255),
        )


def _write(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
