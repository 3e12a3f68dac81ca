import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import decode
from train.data.records import read_mask
from train.painting import write_painted
from train.synthesis import render_lesion

PRESENT = {"ISIC_0000001": {"pigment_network"}, "ISIC_0000002": set(INDICATORS)}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two photographs with lesion masks; experts found a network in one and everything in the other."""
    for folder in ("images", "lesion_masks"):
        (tmp_path / folder).mkdir()
    with (tmp_path / "presence.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", *INDICATORS])
        for number, (image_id, present) in enumerate(PRESENT.items()):
            rendered = render_lesion(np.random.default_rng(number), 128, 128)
            bgr = np.ascontiguousarray(rendered.image[..., ::-1])
            mask = rendered.lesion_mask.astype(np.uint8) * 255
            (tmp_path / "images" / f"{image_id}.jpg").write_bytes(cv2.imencode(".jpg", bgr)[1].tobytes())
            path = tmp_path / "lesion_masks" / f"{image_id}_segmentation.png"
            path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
            table.writerow([image_id, *(int(name in present) for name in INDICATORS)])
    return tmp_path


def paint(root: Path, out: Path, seed: int = 1) -> list[int]:
    arguments = (root / "images", root / "lesion_masks", root / "presence.csv", out, seed, 96)
    return list(write_painted(*arguments))


def test_only_absent_indicators_are_painted(photographs: Path, tmp_path: Path) -> None:
    assert paint(photographs, tmp_path / "out") == [1, 2]
    masks = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    expected = {f"ISIC_0000001_attribute_{name}.png" for name in INDICATORS if name != "pigment_network"}
    assert masks == expected
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["ISIC_0000001.jpg"]


def test_painted_masks_are_filled_and_have_the_written_size(photographs: Path, tmp_path: Path) -> None:
    list(paint(photographs, tmp_path / "out"))
    masks = [read_mask(path) for path in (tmp_path / "out" / "masks").iterdir()]
    assert {mask.shape for mask in masks} == {(96, 96)}
    assert 1 <= sum(mask.any() for mask in masks) <= 3


def test_painting_changes_the_photograph_and_repeats_with_its_seed(photographs: Path, tmp_path: Path) -> None:
    images = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        list(paint(photographs, tmp_path / name, seed))
        images.append(decode(tmp_path / name / "images" / "ISIC_0000001.jpg"))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_painting_into_a_filled_folder_is_refused(photographs: Path) -> None:
    with pytest.raises(InputError, match="is not empty; give a new folder"):
        paint(photographs, photographs)


def test_painting_without_the_table_says_what_it_is_for(photographs: Path, tmp_path: Path) -> None:
    (photographs / "presence.csv").unlink()
    with pytest.raises(DatasetError, match=r"expected the presence table at .*presence\.csv, found none"):
        paint(photographs, tmp_path / "out")


def test_a_missing_photograph_is_named(photographs: Path, tmp_path: Path) -> None:
    (photographs / "images" / "ISIC_0000002.jpg").unlink()
    with pytest.raises(DatasetError, match="names ISIC_0000002, which is not in"):
        paint(photographs, tmp_path / "out")
