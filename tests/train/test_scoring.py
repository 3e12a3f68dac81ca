import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge.errors import InputError
from biounet_edge.evaluation.masks import continuous_dice
from biounet_edge.indicators import INDICATORS
from train.config import TrainConfig
from train.data.records import Record, read_mask
from train.scoring import format_table, held_out, score_predictions


def write_predictions(folder: Path, rows: dict[str, dict[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    names = ["image", "status", "melanoma_probability", *(f"{name}_probability" for name in INDICATORS)]
    with (folder / "predictions.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, restval=0.5)
        table.writeheader()
        for image_id, row in rows.items():
            table.writerow({"image": f"photos/{image_id}.jpg", "status": "ok", **row})


def labelled(count: int) -> list[Record]:
    return [Record(f"I{i}", Path(f"I{i}.jpg"), "a", melanoma=i % 2 == 0) for i in range(count)]


def test_auc_comes_from_the_written_table(tmp_path: Path) -> None:
    records = labelled(20)
    rows = {r.image_id: {"melanoma_probability": 0.9 if r.melanoma else 0.1} for r in records}
    rows["I0"]["melanoma_probability"] = 0.05
    write_predictions(tmp_path, rows)  # type: ignore[arg-type]
    (figure,) = score_predictions(tmp_path, records, resamples=200)
    # One of ten melanomas is below all ten others.
    assert (figure.name, figure.value, figure.images, figure.positives) == ("auc_melanoma", 0.9, 20, 10)
    assert figure.low < 0.9 <= figure.high == 1.0


def test_continuous_dice_comes_from_the_written_probabilities(tmp_path: Path) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[4:9, 5:15] = 255
    (tmp_path / "truth.png").write_bytes(cv2.imencode(".png", truth)[1].tobytes())
    record = Record(
        "I0", Path("I0.jpg"), "a", presence={"streaks": True}, masks={"streaks": tmp_path / "truth.png"}
    )
    probability = np.roll(truth, 3, axis=1) // 2
    (tmp_path / "probabilities").mkdir()
    path = tmp_path / "probabilities" / "I0_streaks.png"
    path.write_bytes(cv2.imencode(".png", probability)[1].tobytes())
    write_predictions(tmp_path, {"I0": {}})
    (figure,) = score_predictions(tmp_path, [record], resamples=50)
    assert figure.name == "cdc_streaks"
    assert figure.value == pytest.approx(
        continuous_dice(read_mask(tmp_path / "truth.png"), probability / 255)
    )
    # A mask of everything overlaps with 50 of 600 pixels: 2 * 50 / (50 + 600)
    assert figure.chance == pytest.approx(100 / 650)


def test_failed_and_missing_predictions_are_refused(tmp_path: Path) -> None:
    records = labelled(3)
    write_predictions(tmp_path, {"I0": {}, "I1": {"status": "error"}})
    with pytest.raises(InputError, match="no successful prediction of 2 images, such as I1"):
        list(score_predictions(tmp_path, records))


def test_missing_table_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `biounet-edge predict"):
        list(score_predictions(tmp_path, labelled(2)))


def test_missing_probabilities_say_which_option_writes_them(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"I0": {}})
    record = Record(
        "I0", Path("I0.jpg"), "a", presence={"streaks": True}, masks={"streaks": Path("truth.png")}
    )
    (tmp_path / "truth.png").write_bytes(cv2.imencode(".png", np.full((2, 2), 255, np.uint8))[1].tobytes())
    record = Record("I0", record.image, "a", None, None, record.presence, {"streaks": tmp_path / "truth.png"})
    with pytest.raises(InputError, match="predict with `--save probabilities`"):
        list(score_predictions(tmp_path, [record]))


def test_held_out_names_the_sources_there_are(config: TrainConfig, data_root: Path) -> None:
    assert len(held_out(config, data_root, "validation", "rendered")) == 18
    with pytest.raises(InputError, match="no source 'uda1'; it has rendered"):
        held_out(config, data_root, "test", "uda1")
    with pytest.raises(InputError, match="no image of rendered stands on side test"):
        held_out(config, data_root, "test", "rendered")


def test_table_has_a_row_a_figure(tmp_path: Path) -> None:
    write_predictions(tmp_path, {r.image_id: {} for r in labelled(8)})
    table = format_table(list(score_predictions(tmp_path, labelled(8), resamples=50))).splitlines()
    assert table[2] == "| auc_melanoma | 0.500 | 0.500 to 0.500 | 0.500 | 8 | 4 |"
