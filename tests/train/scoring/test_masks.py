from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.evaluation.masks import continuous_dice
from tests.train.scoring.written import POINTS, QUICK, write_map, write_predictions, write_probabilities
from train.data.records import Record, read_mask
from train.scoring.masks import MaskFigures, score_masks
from train.scoring.predictions import Predictions


def masks_of(folder: Path, records: list[Record], **thresholds: float) -> dict[str, MaskFigures]:
    figures = score_masks(Predictions(folder, records), {**POINTS, **thresholds}, QUICK)
    return {of.group: of for of in figures}


def test_mask_figures_come_from_the_written_probabilities(tmp_path: Path, masked: list[Record]) -> None:
    written = write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    of = masks_of(tmp_path, masked)["all"]
    assert (of.indicator, of.images, of.filled) == ("streaks", 3, 2)
    truths = {r.image_id: read_mask(r.masks["streaks"]) for r in masked}
    cdc = [continuous_dice(truths[name], values / 255) for name, values in written.items()]
    assert of.cdc_filled.value == pytest.approx(np.mean(cdc[:2]))
    assert of.cdc_all.value == pytest.approx(np.mean(cdc))
    # A mask ten wide and moved by three: seven of ten columns overlap.
    assert of.dice.value == pytest.approx(0.7)
    assert of.jaccard.value == pytest.approx(7 / 13)
    # A mask of everything overlaps with 50 and 40 of 600 pixels: 2 * 50 / (50 + 600) and 2 * 40 / (40 + 600).
    assert of.cdc_everything == pytest.approx((100 / 650 + 80 / 640) / 2)
    # Over all pixels: 35 + 28 in both, 65 + 52 + 4 in either.
    assert of.pooled_jaccard == pytest.approx(63 / 121)
    assert of.cdc_heatmap is None


def test_the_operating_point_cuts_the_masks(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    # 204 / 255 = 0.8 is reached, 0.81 is not.
    assert masks_of(tmp_path, masked, streaks=0.8)["all"].dice.value == pytest.approx(0.7)
    assert masks_of(tmp_path, masked, streaks=0.81)["all"].dice.value == 0


@pytest.mark.parametrize("cell", [0, ""], ids=["absent", "probability only"])
def test_what_is_not_reported_as_present_has_an_empty_mask(
    cell: object, tmp_path: Path, masked: list[Record]
) -> None:
    write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {"streaks_present": cell} for r in masked})
    of = masks_of(tmp_path, masked)["all"]
    assert of.cdc_all.value == pytest.approx(1 / 3)
    assert of.pooled_jaccard == 0
    assert of.dice.value == pytest.approx(0.7)


def test_parts_are_judged_apart(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    judged = masks_of(tmp_path, masked)
    assert list(judged) == ["all", "part: a", "part: also in b"]
    assert [(of.filled, of.images) for of in judged.values()] == [(2, 3), (1, 2), (1, 1)]
    assert judged["part: also in b"].cdc_everything == pytest.approx(80 / 640)


def test_parts_without_a_filled_mask_are_left_out(tmp_path: Path, masked: list[Record]) -> None:
    records = [masked[0], replace(masked[2], traits={"part": "also in b"})]
    write_probabilities(tmp_path, records)
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    assert list(masks_of(tmp_path, records)) == ["all", "part: a"]


def test_saved_heatmaps_are_judged_beside_the_masks(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    for record in masked:
        # The heatmap is the truth itself.
        write_map(
            tmp_path / "heatmaps" / f"{record.image_id}_streaks.png", read_mask(record.masks["streaks"]) * 255
        )
    of = masks_of(tmp_path, masked)["all"]
    assert of.cdc_heatmap is not None
    assert of.cdc_heatmap.value == pytest.approx(1)
    assert of.cdc_filled.value < 1


def test_every_map_is_reported(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    done: list[int] = []
    list(score_masks(Predictions(tmp_path, masked), POINTS, QUICK, lambda: done.append(1)))
    assert len(done) == 3


@pytest.mark.parametrize("kind", ["probabilities", "heatmaps"])
def test_missing_maps_say_which_option_writes_them(kind: str, tmp_path: Path, masked: list[Record]) -> None:
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    write_probabilities(tmp_path, masked)
    (tmp_path / "heatmaps").mkdir()
    if kind == "probabilities":
        (tmp_path / "probabilities" / "I0_streaks.png").unlink()
    with pytest.raises(
        InputError, match=rf"expected {kind} at .*I0_streaks\.png; predict with `--save {kind}`"
    ):
        masks_of(tmp_path, masked)


def test_damaged_maps_are_refused(tmp_path: Path, masked: list[Record]) -> None:
    write_predictions(tmp_path, {r.image_id: {} for r in masked})
    write_probabilities(tmp_path, masked)
    (tmp_path / "probabilities" / "I1_streaks.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"I1_streaks\.png cannot be decoded; predict again"):
        masks_of(tmp_path, masked)
