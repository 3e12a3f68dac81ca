"""The command line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from biounet_edge.checks.agreement import Agreement, Spread
from export.bundle import ExportOptions, ExportReport
from export.cli.main import app
from export.parity import ParityRow
from export.precision import Judgement
from onnx_gradcam.errors import UnsupportedOperatorError

runner = CliRunner()


AGREEMENT = Agreement(
    images=24,
    melanoma_flips=2,
    presence_flips=3,
    probability_difference=0.05,
    contribution_difference=0.1,
    lost_heatmaps=0,
    faint_heatmaps=1,
    heatmap_correlation={"streaks": Spread(0.98, 0.71), "globules": Spread(0.99, 0.95)},
    mask_iou={"streaks": 0.75, "globules": 0.8},
)


def stand_in(monkeypatch: pytest.MonkeyPatch, judgements: list[Judgement]) -> list[Any]:
    """Replaces the export itself; what it is called with."""
    calls: list[Any] = []

    def export_bundle(source: Path, out: Path, options: ExportOptions, **others: Any) -> ExportReport:
        calls.append((source, out, options, others["overwrite"]))
        row = ParityRow("full.onnx", "mask_probability", 2e-6, 1e-3, 3e-6)
        return ExportReport([row], judgements, 12_300_000, 45_600_000)

    monkeypatch.setattr("export.bundle.export_bundle", export_bundle)
    return calls


def test_source_and_folder_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, [])
    result = runner.invoke(
        app, ["model", "small", "--version", "2.0", "--golden", "a.png", "--golden", "b.png"]
    )
    assert result.exit_code == 0, result.output
    options = ExportOptions(
        version="2.0",
        golden=[Path("a.png"), Path("b.png")],
        precisions=["float32"],
        photographs=[],
        calibration=[],
    )
    assert calls == [(Path("model"), Path("small"), options, False)]
    assert re.search(r"full\.onnx\W+mask_probability\W+2\.0e-06\W+3\.0e-06\W+1e-03\W+passed", result.stdout)
    assert "small: 12.3 MB, made from 45.6 MB of weights" in result.stdout


def test_a_precision_that_missed_its_gate_is_named_and_exits_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    problem = "melanoma decisions that flip is 2, at most 0 is accepted"
    calls = stand_in(monkeypatch, [Judgement("int8", AGREEMENT, [problem])])
    arguments = ["model", "small", "--precision", "fp32,int8", "--images", str(tmp_path)]
    result = runner.invoke(app, [*arguments, "--calibration-images", str(image)])
    assert result.exit_code == 3
    assert calls[0][2].precisions == ["float32", "int8"]
    assert calls[0][2].photographs == calls[0][2].calibration == [image]
    assert f"int8 is not in the bundle: {problem}" in result.stderr
    assert re.search(r"int8\W+2\W+5\.0e-02\W+0\.9800\W+0\.7100\W+0\W+0\.750\W+missed", result.stdout)


def test_an_unknown_precision_is_an_error() -> None:
    result = runner.invoke(app, ["model", "small", "--precision", "fp32,fp8"])
    assert result.exit_code == 1
    assert "there is no precision fp8: choose from fp32, fp16, int8" in result.stderr


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


def test_an_error_of_onnx_gradcam_is_one_sentence_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def export_bundle(*arguments: Any, **options: Any) -> ExportReport:
        raise UnsupportedOperatorError("Einsum has no rule; leave it out")

    monkeypatch.setattr("export.bundle.export_bundle", export_bundle)
    result = runner.invoke(app, ["model", "small"])
    assert result.exit_code == 1
    assert result.stderr.endswith("error: Einsum has no rule; leave it out\n")


def test_an_interrupt_says_that_nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def export_bundle(*arguments: Any, **options: Any) -> ExportReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.bundle.export_bundle", export_bundle)
    result = runner.invoke(app, ["model", "small"])
    assert result.exit_code == 130
    assert result.stderr.endswith("interrupted; nothing was written\n")


def test_missing_argument_is_a_usage_error(tmp_path: Path) -> None:
    assert runner.invoke(app, [str(tmp_path)]).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [[], ["net.onnx", "-o", "out.onnx"], ["net.onnx", "--list-layers"], ["--help"]]
)
def test_gradcam_names_the_tool_that_it_has_become(arguments: list[str]) -> None:
    result = runner.invoke(app, ["gradcam", *arguments])
    assert result.exit_code == 2
    assert "onnx-gradcam add" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from export.cli.main import app; app(['--help'], standalone_mode=False); "
        "print({'numpy', 'cv2', 'onnx', 'onnx_ir', 'pydantic', 'torch'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "bundle" in process.stdout
    assert process.stdout.endswith("set()\n")


def test_python_m_export_runs_the_command() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "export", "--help"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0
    assert "Usage: python -m export" in process.stdout
