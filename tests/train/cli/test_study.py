import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.evaluation.report import METHODS


def test_evaluate_names_the_methods_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--method", "saliency", "--device", "cpu"])
    assert result.exit_code == 1
    assert "error: no method saliency; the methods are grad_cam, decoder" in result.stderr


def test_evaluate_names_every_method_in_its_help() -> None:
    text = CliRunner().invoke(app, ["evaluate", "--help"]).stdout
    assert not [method for method in METHODS if method not in text]


def test_evaluate_says_which_library_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "train.evaluation.judge", None)
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--device", "cpu"])
    assert result.exit_code == 1
    assert "evaluate needs train.evaluation.judge, which is not installed" in result.stderr
    assert "pip install -r requirements/study.txt" in result.stderr
