from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli import app, main

runner = CliRunner()


def test_synthesize_writes_a_data_set(tmp_path: Path) -> None:
    result = runner.invoke(
        app, ["synthesize", str(tmp_path / "out"), "--images", "2", "--height", "64", "--width", "80"]
    )
    assert result.exit_code == 0
    assert len(list((tmp_path / "out" / "ISIC2018_Task1-2_Training_Input").iterdir())) == 2


def test_list_prints_paths(config_path: Path, data_root: Path) -> None:
    arguments = ["list", str(config_path), "rendered", "--side", "validation", "--data-root", str(data_root)]
    result = runner.invoke(app, arguments)
    paths = result.stdout.split()
    assert len(paths) == 18
    assert all(Path(path).is_file() for path in paths)


def test_a_known_error_is_one_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "fit", str(tmp_path / "none.toml")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "error: no configuration at" in capsys.readouterr().err


def test_unknown_options_are_a_usage_error() -> None:
    assert runner.invoke(app, ["fit"]).exit_code == 2
