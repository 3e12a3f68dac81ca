import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.evaluation.bootstrap import Draws
from biounet_edge.evaluation.decisions import Rate
from biounet_edge.evaluation.masks import continuous_dice
from biounet_edge.indicators import INDICATORS
from biounet_edge.results.tables import COLUMNS
from train.cli import app
from train.config import DataConfig, DataSource, TrainConfig
from train.data.records import Record, read_mask
from train.scoring.masks import MaskFigures, score_masks
from train.scoring.page import format_scores
from train.scoring.predictions import Predictions, held_out
from train.scoring.probabilities import FEWEST, score_diagnosis, score_presence

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


def labelled(count: int) -> list[Record]:
    return [Record(f"I{i}", Path(f"I{i}.jpg"), "a", melanoma=i % 2 == 0) for i in range(count)]


def write_map(path: Path, values: NDArray[np.generic]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.asarray(values, np.uint8))[1].tobytes())


def test_figures_of_the_diagnosis_come_from_the_written_table(tmp_path: Path) -> None:
    records = labelled(20)
    rows: dict[str, dict[str, object]] = {
        r.image_id: {"melanoma_probability": 0.9 if r.melanoma else 0.1, "melanoma": int(bool(r.melanoma))}
        for r in records
    }
    rows["I0"] = {"melanoma_probability": 0.05, "melanoma": 0}
    write_predictions(tmp_path, rows)
    (figures,) = score_diagnosis(Predictions(tmp_path, records), Draws(resamples=200))
    assert (figures.group, figures.images, figures.melanomas) == ("all", 20, 10)
    assert figures.auc is not None
    # One of ten melanomas is below all ten others.
    assert figures.auc.value == pytest.approx(0.9)
    assert figures.auc.low < 0.9 <= figures.auc.high == 1.0
    assert figures.average_precision is not None
    # Nine are found first; the last one is the tenth of twenty.
    assert figures.average_precision.value == pytest.approx(0.9 + 0.1 * 10 / 20)
    assert figures.calibration_error is not None
    # Nine at 0.9, ten at 0.1 and one at 0.05, in the last bin, the second and the first.
    assert figures.calibration_error.value == pytest.approx((9 * 0.1 + 10 * 0.1 + 0.95) / 20)
    assert figures.decisions.sensitivity == Rate(9, 10)
    assert figures.decisions.specificity == Rate(10, 10)


def test_images_without_a_diagnosis_are_not_judged(tmp_path: Path) -> None:
    records = [*labelled(4), Record("I9", Path("I9.jpg"), "a")]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    (figures,) = score_diagnosis(Predictions(tmp_path, records), QUICK)
    assert (figures.images, figures.melanomas) == (4, 2)
    assert list(score_diagnosis(Predictions(tmp_path, records[-1:]), QUICK)) == []


def test_one_class_alone_has_decisions_and_calibration_only(tmp_path: Path) -> None:
    records = [replace(r, melanoma=False) for r in labelled(4)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    (figures,) = score_diagnosis(Predictions(tmp_path, records), QUICK)
    assert (figures.auc, figures.average_precision) == (None, None)
    assert figures.calibration_error is not None
    assert (figures.decisions.sensitivity, figures.decisions.specificity) == (Rate(0, 0), Rate(4, 4))


def test_subgroups_are_judged_apart(tmp_path: Path) -> None:
    """Men are all called right; of women, none is."""
    sexes = ["female"] * 4 * FEWEST + ["male"] * 4 * FEWEST
    records = [replace(r, traits={"sex": s}) for r, s in zip(labelled(len(sexes)), sexes, strict=True)]
    rows = {r.image_id: {"melanoma": int(bool(r.melanoma) == (r.traits["sex"] == "male"))} for r in records}
    write_predictions(tmp_path, rows)
    judged = {of.group: of for of in score_diagnosis(Predictions(tmp_path, records), QUICK)}
    assert list(judged) == ["all", "sex: female", "sex: male"]
    assert judged["all"].decisions.sensitivity == Rate(2 * FEWEST, 4 * FEWEST)
    assert judged["sex: female"].decisions.sensitivity == Rate(0, 2 * FEWEST)
    assert judged["sex: male"].decisions.specificity == Rate(2 * FEWEST, 2 * FEWEST)


@pytest.mark.parametrize(
    ("age", "group"),
    [
        ("39.5", "under 40"),
        ("40", "40 to 59"),
        ("59.0", "40 to 59"),
        ("60", "60 and older"),
        (None, "unknown"),
    ],
)
def test_ages_are_grouped(age: str | None, group: str, tmp_path: Path) -> None:
    traits = {} if age is None else {"age": age}
    records = [replace(r, traits=traits) for r in labelled(2 * FEWEST)]
    others = [
        replace(r, image_id=f"B{r.image_id}", traits={"age": "20" if group != "under 40" else "70"})
        for r in labelled(2 * FEWEST)
    ]
    records += others
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    groups = [of.group for of in score_diagnosis(Predictions(tmp_path, records), QUICK)]
    assert f"age: {group}" in groups
    assert len(groups) == 3


def test_an_age_that_is_no_number_is_refused(tmp_path: Path) -> None:
    records = [replace(r, traits={"age": "young"}) for r in labelled(4)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    with pytest.raises(
        DatasetError, match="expected years or an empty cell for an age, got 'young'; correct"
    ):
        list(score_diagnosis(Predictions(tmp_path, records), QUICK))


def test_small_subgroups_are_left_out(tmp_path: Path) -> None:
    sexes = ["male"] * (2 * FEWEST) + ["female"] * (2 * FEWEST - 2)
    records = [replace(r, traits={"sex": s}) for r, s in zip(labelled(len(sexes)), sexes, strict=True)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    groups = [of.group for of in score_diagnosis(Predictions(tmp_path, records), QUICK)]
    assert groups == ["all", "sex: male"]


def with_streaks(count: int) -> list[Record]:
    return [
        Record(f"I{i}", Path(f"I{i}.jpg"), "a", presence={"streaks": i < count // 2}) for i in range(count)
    ]


def test_presence_comes_from_the_written_table(tmp_path: Path) -> None:
    records = with_streaks(10)
    rows = {
        f"I{i}": {"streaks_probability": 1 - i / 10, "streaks_present": int(i in (0, 1, 2, 7))}
        for i in range(10)
    }
    write_predictions(tmp_path, rows)
    (figures,) = score_presence(Predictions(tmp_path, records), QUICK)
    assert (figures.indicator, figures.images, figures.positives) == ("streaks", 10, 5)
    assert figures.auc is not None
    assert figures.auc.value == 1.0
    assert figures.decisions is not None
    assert figures.decisions.positive_predictive_value == Rate(3, 4)
    assert figures.decisions.sensitivity == Rate(3, 5)


def test_an_indicator_without_an_operating_point_has_an_auc_alone(tmp_path: Path) -> None:
    records = with_streaks(6)
    write_predictions(tmp_path, {r.image_id: {"streaks_present": ""} for r in records})
    (figures,) = score_presence(Predictions(tmp_path, records), QUICK)
    assert figures.decisions is None
    assert figures.auc is not None


@pytest.fixture
def masked(tmp_path: Path) -> list[Record]:
    """Three photographs of 20 x 30 pixels: two with streaks, one without; the second is in b too."""
    first, second = np.zeros((20, 30)), np.zeros((20, 30))
    first[4:9, 5:15], second[10:14, 10:20] = 255, 255
    parts = ["a", "also in b", "a"]
    records = []
    for index, truth in enumerate((first, second, np.zeros((20, 30)))):
        path = tmp_path / "truth" / f"I{index}.png"
        write_map(path, truth)
        records.append(
            Record(
                f"I{index}",
                Path(f"I{index}.jpg"),
                "a",
                presence={"streaks": index < 2},
                masks={"streaks": path},
                traits={"part": parts[index], "sex": "male" if index else "female"},
            )
        )
    return records


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


def test_failed_and_missing_predictions_are_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"I0": {}, "I1": {"status": "error"}})
    with pytest.raises(InputError, match="no successful prediction of 2 images, such as I1"):
        Predictions(tmp_path, labelled(3))


def test_missing_table_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `biounet-edge predict"):
        Predictions(tmp_path, labelled(2))


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


def test_held_out_names_the_sources_there_are(config: TrainConfig, data_root: Path) -> None:
    assert len(held_out(config, data_root, "validation", "rendered")) == 18
    with pytest.raises(InputError, match="no source 'uda1'; it has rendered"):
        held_out(config, data_root, "test", "uda1")
    with pytest.raises(InputError, match="no image of rendered stands on side test"):
        held_out(config, data_root, "test", "rendered")


def shared_by_two(config: TrainConfig, data_root: Path, folder: Path) -> TrainConfig:
    """The rendered source, and another one that holds a third of its images; metadata of all."""
    (first,) = config.data.annotated
    names = sorted(path.stem for path in (data_root / first.images).iterdir())
    (folder / "some.csv").write_text("image\n" + "\n".join(names[::3]) + "\n")
    rows = [f"{name},{'male' if index % 2 else 'female'}" for index, name in enumerate(names)]
    (folder / "metadata.csv").write_text("image,sex\n" + "\n".join(rows) + "\n")
    second = DataSource(
        name="some", layout="table", images=first.images, table=folder / "some.csv", validation=0.3
    )
    data = DataConfig(annotated=(first, second), metadata=folder / "metadata.csv")
    return config.model_copy(update={"data": data})


def test_held_out_images_know_their_part_and_traits(
    config: TrainConfig, data_root: Path, tmp_path: Path
) -> None:
    both = shared_by_two(config, data_root, tmp_path)
    plain = held_out(config, data_root, "validation", "rendered")
    chosen = held_out(both, data_root, "validation", "rendered")
    assert [r.image_id for r in chosen] == [r.image_id for r in plain]
    shared = (tmp_path / "some.csv").read_text().split()
    for record in chosen:
        assert record.traits["part"] == ("also in some" if record.image_id in shared else "rendered")
        assert record.traits["sex"] in ("female", "male")
    assert {record.traits["part"] for record in held_out(both, data_root, "validation", "some")} == {
        "also in rendered"
    }


def test_the_page_shows_every_figure(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    records = [replace(r, melanoma=index == 0) for index, r in enumerate(masked)]
    write_predictions(tmp_path, {r.image_id: {"melanoma": 1} for r in records})
    loaded = Predictions(tmp_path, records)
    page = format_scores(
        list(score_diagnosis(loaded, QUICK)),
        list(score_presence(loaded, QUICK)),
        list(score_masks(loaded, POINTS, QUICK)),
    )
    tables = [table.splitlines() for table in page.split("\n\n")]
    assert [len(table) for table in tables] == [3, 4, 5]
    for table in tables:
        assert len({row.count("|") for row in table}) == 1
    assert "| all | 3 | 1 | 0.500 (0.500 to 0.500) | 0.333 (0.333 to 0.667) |" in tables[0][2]
    assert "| 1.000 (0.207 to 1.000), 1 of 1 | 0.000 (0.000 to 0.658), 0 of 2 |" in tables[0][2]
    assert tables[1][2] == (
        "| streaks | 3 | 2 | 0.500 (0.500 to 0.500) | 0.667 (0.208 to 0.939), 2 of 3 "
        "| 1.000 (0.342 to 1.000), 2 of 2 |"
    )
    assert tables[1][3] == "| mean |  |  | 0.500 |  |  |"
    assert tables[2][2].startswith("| streaks | all | 2 of 3 | ")
    # The paper's 14.17 %, in Table 2.
    assert "| 0.142 | not measured | 0.139 |" in tables[2][2]


def test_the_page_says_where_there_is_no_operating_point(tmp_path: Path) -> None:
    records = with_streaks(6)
    write_predictions(tmp_path, {r.image_id: {"streaks_present": ""} for r in records})
    page = format_scores([], list(score_presence(Predictions(tmp_path, records), QUICK)), [])
    assert "| streaks | 6 | 3 | 0.500 (0.500 to 0.500) | probability only |  |" in page


def test_commands_list_predicted_images_and_score_them(
    config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    """From the images that `list` names, through what `predict` writes, to the tables."""
    records = held_out(config, data_root, "validation", "rendered")
    choice = [str(config_path), "rendered", "--side", "validation", "--data-root", str(data_root)]
    listed = CliRunner().invoke(app, ["list", *choice])
    assert listed.stdout.split() == [str(record.image) for record in records]
    folder = tmp_path / "out"
    write_predictions(
        folder,
        {r.image_id: {"melanoma": int(bool(r.melanoma)), "streaks_present": ""} for r in records},
    )
    for record in records:
        for indicator, path in record.masks.items():
            for kind in ("probabilities", "heatmaps"):
                write_map(folder / kind / f"{record.image_id}_{indicator}.png", read_mask(path) * 255)
    result = CliRunner().invoke(app, ["score", str(folder), *choice])
    assert result.exit_code == 0, result.output
    diagnosis, presence, masks = result.stdout.strip().split("\n\n")
    melanomas = sum(bool(record.melanoma) for record in records)
    assert f"| all | 18 | {melanomas} | " in diagnosis
    assert f", {melanomas} of {melanomas} |" in diagnosis
    assert "| probability only |" in presence
    # Masks and heatmaps are the truth; where nothing is reported, streaks are missed.
    streaks = next(line for line in masks.splitlines() if line.startswith("| streaks | all |"))
    cells = [cell.strip() for cell in streaks.strip("|").split("|")]
    assert cells[3] == cells[5] == "1.000 (1.000 to 1.000)"
    assert cells[-1] == "0.000"
