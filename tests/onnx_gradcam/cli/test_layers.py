"""`onnx-gradcam layers`: which layers it lists, and what it rejects."""

from pathlib import Path

from typer.testing import CliRunner, Result

from onnx_gradcam.cli.main import app


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["layers", *map(str, arguments)])


def test_layers_are_listed_and_nothing_is_written(model: Path, tmp_path: Path) -> None:
    result = call(model)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["AveragePool", "3", "4", "x", "4", "small"] in lines
    assert ["Relu", "3", "4", "x", "4", "last", "features"] in lines
    assert list(tmp_path.iterdir()) == [model]


def test_files_that_are_no_graphs_are_named(tmp_path: Path) -> None:
    assert "there is no file" in call(tmp_path / "absent.onnx").stderr
    text = tmp_path / "notes.onnx"
    text.write_text("these are no bytes of a graph")
    result = call(text)
    assert result.exit_code == 1
    assert "notes.onnx is no ONNX graph" in result.stderr


def test_scores_that_are_not_there_are_named(model: Path) -> None:
    result = call(model, "--scores", "absent")
    assert result.exit_code == 1
    assert "the graph has no value 'absent': `onnx-gradcam layers` shows those" in result.stderr
