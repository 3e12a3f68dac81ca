import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli.main import app

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


def test_a_known_error_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    result = runner.invoke(app, ["fit", str(path)])
    assert result.exit_code == 1
    assert result.stderr == f"error: no configuration at {path}; configs/ holds examples\n"
    assert result.stdout == ""


def test_an_interrupt_is_one_sentence_and_exit_code_130(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.config.run.load_config", interrupted)
    result = runner.invoke(app, ["fit", str(config_path)])
    assert result.exit_code == 130
    assert result.stderr == "interrupted; what was finished is kept\n"


def test_unknown_options_are_a_usage_error() -> None:
    assert runner.invoke(app, ["fit"]).exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from train.cli.main import app; app(['--help'], standalone_mode=False); "
        "print({'numpy', 'cv2', 'onnx', 'onnx_ir', 'pydantic', 'torch'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "synthesize" in process.stdout
    assert process.stdout.endswith("set()\n")


def test_python_m_train_runs_the_command() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "train", "--help"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0
    assert "Usage: python -m train" in process.stdout
