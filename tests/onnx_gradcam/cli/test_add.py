"""`onnx-gradcam add`: what it writes and says, and what it rejects."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from typer.testing import CliRunner, Result

from onnx_gradcam.cli.main import app
from onnx_gradcam.model_file import load_model, save_model


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["add", *map(str, arguments)])


def test_it_writes_a_model_and_says_what_it_explains(model: Path, tmp_path: Path) -> None:
    result = call(model, "--output", tmp_path / "explained.onnx")
    assert result.exit_code == 0, result.output
    assert "method: gradcam\nlayers: features\nscores: scores\nclass: top\n" in result.stdout
    session = onnxruntime.InferenceSession(tmp_path / "explained.onnx")
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    probabilities, best, heatmap = session.run(None, {"images": images})
    assert (probabilities.argmax(axis=1) == best).all()
    assert heatmap.shape == (2, 8, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier.onnx", "explained.onnx"]


def test_every_option_arrives(model: Path, tmp_path: Path) -> None:
    options = ("--layer", "small", "--layer", "last", "--logit", "input", "--method", "hirescam",
               "--resize", "none", "--normalize", "none", "--scores", "probabilities")  # fmt: skip
    result = call(model, "-o", tmp_path / "explained.onnx", *options)
    assert result.exit_code == 0, result.output
    explained = ir.load(tmp_path / "explained.onnx")
    assert [value.name for value in explained.graph.inputs] == ["images", "class_index"]
    outputs = {str(value.name): str(value.shape) for value in explained.graph.outputs[1:]}
    assert outputs == {"heatmap_small": "[N,4,4]", "heatmap_features": "[N,4,4]"}
    assert explained.metadata_props == {
        "heatmap_method": "hirescam",
        "heatmap_layers": "small,features",
        "heatmap_scores": "probabilities",
        "heatmap_class": "input",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected where to write the model: --output OUT.onnx; `onnx-gradcam layers` lists its layers"),
        (("-o", "OUT", "--logit", "best"), "--logit is the index of a class, top or input: got 'best'"),
        (("-o", "OUT", "--logit", "4"), "logit 4 of 'scores' was asked for"),
        (("-o", "OUT", "--layer", "nowhere"), "the graph has no value 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said(
    model: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = call(model, *(tmp_path / "out.onnx" if option == "OUT" else option for option in options))
    assert result.exit_code == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == [model]


def test_a_file_is_replaced_only_when_that_is_asked_for(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "explained.onnx"
    out.write_text("mine")
    result = call(model, "-o", out)
    assert result.exit_code == 1
    assert "is there already: choose another name, or replace it with --overwrite" in result.stderr
    assert out.read_text() == "mine"
    assert call(model, "-o", out, "--overwrite").exit_code == 0
    assert load_model(out).graph.outputs


def test_files_that_are_no_graphs_are_named(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert "there is no file" in call(tmp_path / "absent.onnx", "-o", out).stderr
    text = tmp_path / "notes.onnx"
    text.write_text("these are no bytes of a graph")
    result = call(text, "-o", out)
    assert result.exit_code == 1
    assert "notes.onnx is no ONNX graph" in result.stderr
    assert not out.exists()


def test_a_folder_that_cannot_be_written_to_is_named(model: Path, tmp_path: Path) -> None:
    result = call(model, "-o", tmp_path / "absent" / "out.onnx")
    assert result.exit_code == 1
    assert "cannot be written (No such file or directory)" in result.stderr


def test_large_weights_are_written_beside_the_graph(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx_gradcam.model_file.LARGEST_FILE_BYTES", 10)
    out = tmp_path / "explained.onnx"
    assert call(model, "-o", out).exit_code == 0
    assert (tmp_path / "explained.onnx.data").is_file()
    images = np.ones((1, 3, 8, 8), np.float32)
    assert onnxruntime.InferenceSession(out).run(None, {"images": images})[2].max() == 1
    again = tmp_path / "again.onnx"  # what lies beside the graph is found
    save_model(load_model(out), again)
    assert (tmp_path / "again.onnx.data").read_bytes() == (tmp_path / "explained.onnx.data").read_bytes()


def test_missing_weights_are_named(model: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside.onnx"
    ir.save(ir.load(model), beside, external_data="weights.bin", size_threshold_bytes=0)
    (tmp_path / "weights.bin").unlink()
    result = call(beside, "-o", tmp_path / "explained.onnx")
    assert result.exit_code == 1
    assert "weights.bin, which is missing: expected it beside the graph" in result.stderr


def test_weights_beside_the_graph_come_along_to_another_folder(model: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside.onnx"
    ir.save(ir.load(model), beside, external_data="weights.bin", size_threshold_bytes=0)
    assert (tmp_path / "weights.bin").is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert call(beside, "-o", elsewhere / "explained.onnx").exit_code == 0
    assert [path.name for path in elsewhere.iterdir()] == ["explained.onnx"]
    images = np.ones((1, 3, 8, 8), np.float32)
    session = onnxruntime.InferenceSession(elsewhere / "explained.onnx")
    assert session.run(None, {"images": images})[2].max() == 1
