"""Rendered images on disk, laid out as ISIC 2018 Tasks 1 and 2 are."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.synthesis.arrays import ByteArray
from train.synthesis.render import RenderedImage, render_lesion

IMAGE_FOLDER = "ISIC2018_Task1-2_Training_Input"
INDICATOR_FOLDER = "ISIC2018_Task2_Training_GroundTruth_v3"
LESION_FOLDER = "ISIC2018_Task1_Training_GroundTruth"
DIAGNOSIS_FILE = "diagnosis.csv"

FIRST_ID = 9_000_000
"""Above every id of the ISIC archive's challenges, so that rendered and real images never share one."""
IDS_PER_SEED = 100_000
"""Data sets of different seeds hold different images, and ids of their own."""
JPEG_QUALITY = 88
"""What ISIC's own files show: visible softness, no blocks."""


def render_numbered(seed: int, number: int, height: int, width: int) -> RenderedImage:
    """Image `number` of the data set `seed`; depends on nothing else."""
    return render_lesion(np.random.default_rng([seed, number]), height, width)


def write_isic2018(
    out: Path,
    images: int,
    seed: int,
    *,
    height: int = 450,
    width: int = 600,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write rendered images in the layout of the ISIC 2018 training data.

    Images, lesion masks and five indicator masks each (0 or 255, all black where absent) under their usual
    names, and diagnosis.csv with the columns image, lesion_id and melanoma. One image per lesion.

    Args:
        out: Folder to write to; made if missing.
        images: How many, at most IDS_PER_SEED.
        seed: Seed of the data set; image i depends on (seed, i) only.
        height: Rows of each image.
        width: Columns of each image.
        progress: Called after each image with how many are done and how many there are.

    Raises:
        InputError: If `out` is not empty or the number of images cannot be.
    """
    if not 1 <= images <= IDS_PER_SEED:
        raise InputError(f"Expected 1 to {IDS_PER_SEED} images, got {images}; ask for another number.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"Expected {out} to be an empty folder, but it holds files; name another or empty it first."
        )
    for folder in (IMAGE_FOLDER, INDICATOR_FOLDER, LESION_FOLDER):
        (out / folder).mkdir(parents=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image", "lesion_id", "melanoma"])
    for number in range(images):
        identity = FIRST_ID + seed * IDS_PER_SEED + number
        name = f"ISIC_{identity}"
        rendered = render_numbered(seed, number, height, width)
        _write_image(out, name, rendered)
        rows.writerow([name, f"RENDERED_{identity}", int(rendered.melanoma)])
        if progress is not None:
            progress(number + 1, images)
    _write_whole(out / DIAGNOSIS_FILE, table.getvalue().encode())


def _write_image(out: Path, name: str, rendered: RenderedImage) -> None:
    """Write one image and its six masks."""
    for indicator in INDICATORS:
        mask = _to_png(rendered.indicator_masks[indicator].astype(np.uint8) * 255)
        _write_whole(out / INDICATOR_FOLDER / f"{name}_attribute_{indicator}.png", mask)
    lesion = _to_png(rendered.lesion_mask.astype(np.uint8) * 255)
    _write_whole(out / LESION_FOLDER / f"{name}_segmentation.png", lesion)
    bgr = cv2.cvtColor(rendered.image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _write_whole(out / IMAGE_FOLDER / f"{name}.jpg", jpeg.tobytes())


def _to_png(mask: ByteArray) -> bytes:
    """A mask as a PNG file."""
    _, png = cv2.imencode(".png", mask)
    return png.tobytes()


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there entirely or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)
