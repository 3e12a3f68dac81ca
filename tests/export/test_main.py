"""The command line."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from export.__main__ import app
from export.bundle import ExportReport
from export.parity import ParityRow

runner = CliRunner()


def test_checkpoint_and_folder_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def export_bundle(*arguments: Any, **options: Any) -> ExportReport:
        calls.append((*arguments, options["version"], options["golden"]))
        return ExportReport(
            [ParityRow("full.onnx", "mask_probability", 2e-6, 1e-3, 3e-6)], 12_300_000, 45_600_000
        )

    monkeypatch.setattr("export.bundle.export_bundle", export_bundle)
    result = runner.invoke(
        app, ["model", "small", "--version", "2.0", "--golden", "a.png", "--golden", "b.png"]
    )
    assert result.exit_code == 0, result.output
    assert calls == [(Path("model"), Path("small"), "2.0", [Path("a.png"), Path("b.png")])]
    assert re.search(r"full\.onnx\W+mask_probability\W+2\.0e-06\W+3\.0e-06\W+1e-03\W+passed", result.stdout)
    assert "small: 12.3 MB, checkpoint: 45.6 MB" in result.stdout


def test_known_errors_are_one_sentence_and_exit_1(tmp_path: Path) -> None:
    result = runner.invoke(app, [str(tmp_path / "missing.safetensors"), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "error: expected a checkpoint at" in result.stderr
    assert "Traceback" not in result.output


def test_the_command_has_a_name_for_those_who_want_one(tmp_path: Path) -> None:
    result = runner.invoke(app, ["bundle", str(tmp_path), str(tmp_path)])
    assert result.exit_code == 1
    assert "is already there" in result.stderr


def test_help_names_the_command() -> None:
    assert "bundle" in runner.invoke(app, ["--help"]).stdout


def test_missing_argument_is_a_usage_error(tmp_path: Path) -> None:
    assert runner.invoke(app, [str(tmp_path)]).exit_code == 2
