import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.train.scoring.written import write_map, write_predictions
from train.cli.main import app
from train.config.run import TrainConfig
from train.data.held_out import held_out
from train.data.records import read_mask


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


def test_score_says_which_library_to_install(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "train.scoring.masks", None)
    result = CliRunner().invoke(app, ["score", str(tmp_path), str(config_path), "rendered"])
    assert result.exit_code == 1
    assert "score needs train.scoring.masks, which is not installed" in result.stderr
    assert "pip install -r requirements/study.txt" in result.stderr
