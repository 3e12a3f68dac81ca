"""Images and settings that `predict` rejects."""

from pathlib import Path

import numpy as np
import pytest

from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend

from .written import rows


def test_predict_names_broken_files_and_does_the_rest(run, folder, tmp_path):
    whole = (folder / "a.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    frame, scan = bytes.fromhex("ffc0000b08ff00ff0001011100"), bytes.fromhex("ffda0008010100003f00")
    huge = b"\xff\xd8" + frame + scan + b"\xff\xd9"
    (folder / "sub" / "huge.jpg").write_bytes(huge)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    options = ("--level", "classify", "--batch-size", 2)
    result = run("predict", folder, "--output", tmp_path / "out", *options)
    assert result.exit_code == 3, result.output
    errors = {
        Path(row["image"]).name: row["error"] for row in rows(tmp_path / "out") if row["status"] == "error"
    }
    assert errors.pop("truncated.jpg") == "the JPEG image is truncated or damaged: its end marker is missing"
    assert errors.pop("empty.png") == "the file is empty"
    assert errors.pop("text.jpg").startswith("the file is not an image in a known format")
    assert errors.pop("huge.jpg").startswith("the image is too large: 65280 x 65280 pixels")
    assert errors.pop("gone.jpg") == "there is no such file"
    assert errors == {}
    assert sum(row["status"] == "ok" for row in rows(tmp_path / "out")) == 5
    assert f"error: {folder / 'empty.png'}: the file is empty" in result.stderr
    assert "5 of 10 images read" in result.stderr
    assert result.stdout.count("not read") == 5


def test_predict_ends_with_3_where_every_image_fails(run, tmp_path):
    (tmp_path / "a.jpg").touch()
    result = run("predict", tmp_path / "a.jpg", "--output", tmp_path / "out")
    assert result.exit_code == 3
    assert "0 of 1 images read" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing"], "error: there is no file or folder missing: check the path"),
        (["empty"], "error: the folder empty holds no images"),
        (["a.jpg", "--device", "tpu"], "error: there is no device 'tpu': choose one of auto, cpu, cuda"),
        (["a.jpg", "--bundle", "nowhere"], "error: there is no bundle at nowhere"),
        (["a.jpg", "--save", "pdf"], "error: pdf cannot be saved: choose from masks, overlays"),
        (["a.jpg", "--save", "masks", "--level", "cam"], "error: level cam computes no masks"),
        (["a.jpg", "--output", "a.jpg"], "error: a.jpg cannot be written ("),
    ],
)
def test_predict_ends_known_errors_with_one_sentence(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").touch()
    result = run("predict", *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    expected = ("Not for clinical use", "computing on cpu in float32", "this model cannot judge")
    assert (
        len([line for line in result.stderr.splitlines() if not any(text in line for text in expected)]) == 1
    )
    assert result.stdout == ""


def test_predict_refuses_a_changed_bundle(run, folder, bundle_copy, tmp_path):
    weights = bundle_copy / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)
    result = run("predict", folder, "--bundle", bundle_copy, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "weights.bin is not the file that the bundle's manifest names" in result.stderr
    assert not (tmp_path / "out").exists()


def test_predict_refuses_a_machine_that_computes_otherwise(run, folder, tmp_path, monkeypatch):
    compute = OnnxRuntimeBackend.run

    def wrong(self, images):
        return {name: values + np.float32(0.2) for name, values in compute(self, images).items()}

    monkeypatch.setattr(OnnxRuntimeBackend, "run", wrong)
    result = run("predict", folder, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "does not compute in float32 what PyTorch computed from the golden images" in result.stderr
    assert not (tmp_path / "out").exists()


def test_predict_refuses_a_precision_that_the_bundle_has_not(run, folder, tmp_path):
    result = run("predict", folder, "--output", tmp_path / "out", "--precision", "bfloat16")
    assert result.exit_code == 1
    assert "bfloat16 was asked for: device cpu computes in float32, int8" in result.stderr
