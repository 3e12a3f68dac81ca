import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from biounet_edge import INDICATORS, Predictor, __version__
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend
from biounet_edge.bundle.manifest import Level
from biounet_edge.cli.console import printable
from biounet_edge.cli.main import app


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predict_reads_a_folder(run, folder, tmp_path, bundle):
    result = run("predict", folder, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "out")
    assert [Path(row["image"]).name for row in table] == [
        "Läsion 病変.tiff",
        "a.jpg",
        "b.png",
        "c.webp",
        "d.bmp",
    ]
    assert {row["status"] for row in table} == {"ok"}
    assert (tmp_path / "out" / "masks" / "sub" / "c_attribute_streaks.png").is_file()
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 25
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 5
    assert "a.jpg" in result.stdout
    assert "5 of 5 images read; results in" in result.stderr
    assert result.stderr.count(bundle.manifest.notice) == 1
    assert bundle.manifest.notice not in result.stdout


def test_predict_writes_a_report(run, folder, tmp_path, bundle):
    (folder / "z.jpg").write_bytes(b"\xff\xd8\xff")
    result = run("predict", folder, "--output", tmp_path / "out", "--save", "report")
    assert result.exit_code == 3, result.output
    assert "results in" in result.stderr
    assert result.stderr.rstrip().endswith("predictions.csv, predictions.jsonl, summary.json, report.html")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.count('<li class="card"') == 5
    assert "1 could not be read" in report
    assert bundle.manifest.notice in report
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "journal.jsonl",
        "predictions.csv",
        "predictions.jsonl",
        "report.html",
        "summary.json",
    ]


@pytest.mark.parametrize("level", get_args(Level))
def test_predict_writes_a_report_at_every_level(run, folder, tmp_path, level):
    result = run("predict", folder, "--output", tmp_path / "out", "--save", "report", "--level", level)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "report.html").stat().st_size > 20_000


def test_predict_agrees_with_the_python_interface(run, folder, tmp_path, predictor):
    run("predict", folder, "--output", tmp_path / "out", "--batch-size", 3)
    for row in rows(tmp_path / "out"):
        prediction = predictor.predict(row["image"])
        assert float(row["melanoma_probability"]) == pytest.approx(prediction.melanoma_probability, abs=2e-5)
        for name in INDICATORS:
            finding = prediction.indicators[name]
            assert float(row[f"{name}_probability"]) == pytest.approx(finding.probability, abs=2e-5)
            assert float(row[f"{name}_contribution"]) == pytest.approx(finding.contribution, abs=2e-4)


def test_predict_names_broken_files_and_does_the_rest(run, folder, tmp_path):
    whole = (folder / "a.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    frame, scan = bytes.fromhex("ffc0000b08ff00ff0001011100"), bytes.fromhex("ffda0008010100003f00")
    huge = b"\xff\xd8" + frame + scan + b"\xff\xd9"
    (folder / "sub" / "huge.jpg").write_bytes(huge)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    result = run("predict", folder, "--output", tmp_path / "out", "--batch-size", 2)
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


def test_predict_prints_a_json_line_per_image(run, folder, tmp_path):
    (folder / "empty.png").touch()
    result = run("predict", folder, "--output", tmp_path / "out", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok", "ok", "error", "ok", "ok"]
    assert set(lines[0]["indicators"]) == set(INDICATORS)


@pytest.mark.parametrize(("level", "folders"), [("classify", []), ("cam", ["overlays"])])
def test_predict_writes_what_the_level_computes(run, folder, tmp_path, level, folders):
    result = run("predict", folder, "--output", tmp_path / "out", "--level", level)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == folders
    assert {row["streaks_area_pct"] for row in rows(tmp_path / "out")} == {""}


def test_predict_writes_what_save_names(run, folder, tmp_path):
    result = run("predict", folder, "--output", tmp_path / "out", "--save", "heatmaps,probabilities")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["heatmaps", "probabilities"]
    assert "predictions.csv, predictions.jsonl, summary.json, heatmaps/, probabilities/" in result.stderr


def test_predict_does_not_read_its_own_overlays(run, folder):
    for _ in range(2):
        result = run("predict", folder, "--output", folder / "predictions")
        assert result.exit_code == 0
    assert len(rows(folder / "predictions")) == 5


def test_predict_shortens_a_long_table(run, tmp_path, photograph, write_image):
    source = write_image(tmp_path / "images" / "0.png", photograph[:8, :8])
    for i in range(1, 45):
        (tmp_path / "images" / f"{i}.png").write_bytes(source.read_bytes())
    result = run("predict", tmp_path / "images", "--output", tmp_path / "out", "--save", "none")
    assert "and 5 more in predictions.csv" in result.stdout
    assert len(rows(tmp_path / "out")) == 45


def test_predict_writes_masks_upright_at_the_photographs_size(run, tmp_path, photograph, write_image):
    stored = write_image(tmp_path / "images" / "stored.jpg", photograph).read_bytes()
    segment = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    tagged = stored[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + stored[2:]
    (tmp_path / "images" / "tagged.jpg").write_bytes(tagged)
    assert run("predict", tmp_path / "images", "--output", tmp_path / "out").exit_code == 0
    sizes = {Path(row["image"]).stem: (row["height"], row["width"]) for row in rows(tmp_path / "out")}
    assert sizes == {"stored": ("90", "120"), "tagged": ("120", "90")}
    for name, shape in (("stored", (90, 120)), ("tagged", (120, 90))):
        mask = cv2.imread(str(tmp_path / f"out/masks/{name}_attribute_streaks.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == shape


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
    expected = ("Not for clinical use", "computing on cpu in float32")
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


@pytest.mark.parametrize("command", ["predict", "info", "verify"])
def test_commands_refuse_a_bundle_of_a_newer_format(run, folder, bundle_copy, command):
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 3}))
    arguments = [folder, "--bundle", bundle_copy] if command == "predict" else [bundle_copy]
    result = run(command, *arguments)
    assert result.exit_code == 1
    assert (
        "has format 3, and this biounet-edge reads up to format 2: a newer biounet-edge is needed"
        in result.stderr
    )


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "x", "--level", "deep"], ["predict", "x", "--batch-size", 0], ["fly"]],
)
def test_wrong_usage_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_interrupted_run_keeps_its_finished_rows(run, folder, tmp_path, monkeypatch):
    compute = OnnxRuntimeBackend.run
    calls = 0

    def interrupted(self, images):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return compute(self, images)

    monkeypatch.setattr(OnnxRuntimeBackend, "run", interrupted)
    result = run("predict", folder, "--output", tmp_path / "out", "--batch-size", 1)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    kept = rows(tmp_path / "out")
    assert len(kept) <= 3
    assert all(row["status"] == "ok" for row in kept)
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_predict_prints_null_without_an_operating_point(run, folder, tmp_path, undecided_bundle):
    arguments = [folder / "a.jpg", "--bundle", undecided_bundle.folder, "--output", tmp_path / "out"]
    result = run("predict", *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["indicators"]["streaks"]["present"] is None
    (row,) = rows(tmp_path / "out")
    assert row["streaks_present"] == ""
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4


def test_predict_prints_a_table_without_an_operating_point(run, folder, tmp_path, undecided_bundle):
    result = run("predict", folder, "--bundle", undecided_bundle.folder, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "bold if present, dim if absent" in " ".join(result.stdout.split())


def test_predict_refuses_a_machine_that_computes_otherwise(run, folder, tmp_path, monkeypatch):
    compute = OnnxRuntimeBackend.run

    def wrong(self, images):
        return {name: values + np.float32(0.2) for name, values in compute(self, images).items()}

    monkeypatch.setattr(OnnxRuntimeBackend, "run", wrong)
    result = run("predict", folder, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "does not compute in float32 what PyTorch computed from the golden images" in result.stderr
    assert not (tmp_path / "out").exists()


def test_predict_says_what_it_computes_on_and_why(run, folder, tmp_path):
    result = run(
        "predict", folder / "a.jpg", "--output", tmp_path / "out", "--device", "auto", "--level", "classify"
    )
    assert result.exit_code == 0, result.output
    first = result.stderr.splitlines()[0]
    assert first.startswith("computing on ")
    assert "not available: tensorrt" in first


def test_predict_refuses_a_precision_that_the_bundle_has_not(run, folder, tmp_path):
    result = run("predict", folder, "--output", tmp_path / "out", "--precision", "bfloat16")
    assert result.exit_code == 1
    assert "bfloat16 was asked for: device cpu computes in float32, int8" in result.stderr


def test_version_is_printed(run):
    assert run("--version").stdout == f"biounet-edge {__version__}\n"


def test_level_option_names_the_levels_of_the_manifest(run):
    help_text = run("predict", "--help").stdout
    assert all(level in help_text for level in get_args(Level))


def test_help_answers_quickly_without_heavy_imports():
    code = (
        "import sys; from biounet_edge.cli.main import app; app(['--help'], standalone_mode=False); "
        "print({'numpy', 'cv2', 'pydantic', 'onnxruntime', 'torch'} & set(sys.modules))"
    )
    start = time.monotonic()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 5  # 0.3 s on an idle machine; the modules are what is judged
    assert "predict" in process.stdout
    assert process.stdout.strip().endswith("set()")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")
def test_hostile_file_names_reach_neither_terminal_nor_other_folders(run, tmp_path, photograph, write_image):
    content = write_image(tmp_path / "a.png", photograph).read_bytes()
    images = tmp_path / "images"
    images.mkdir()
    for name in (b"\xff\xfe.png", b"\x1b[31mred.png", b"line\nbreak.png", b"=1+1.png", b"[bold]x.png"):
        Path(os.fsdecode(os.fsencode(images) + b"/" + name)).write_bytes(content)
    result = run("predict", images, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert len(rows(tmp_path / "out")) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "images", "out"}


def test_printable_escapes_control_codes_and_undecoded_bytes():
    assert printable("病 a\n\x1b\udcff") == "病 a\\n\\x1b\\udcff"


def test_predict_reads_the_real_samples(run, shared_data, tmp_path):
    images = shared_data / "real-samples" / "images"
    result = run("predict", images, "--output", tmp_path / "out", "--level", "classify")
    assert result.exit_code == 0, result.output
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok"] * 24


def test_predict_finds_the_demo_bundle_by_itself(folder, tmp_path, monkeypatch, bundle):
    monkeypatch.setattr("biounet_edge.bundle.folder.default_bundle", lambda: bundle.folder)
    result = CliRunner().invoke(app, ["predict", str(folder), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    with Predictor() as predictor:
        assert predictor.bundle.checksum == bundle.checksum


def test_predict_counts_what_it_leaves_out(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (folder / "photo.heic").touch()
    (folder / "@eaDir").mkdir()
    first = run("predict", folder, "--output", folder / "predictions", "--level", "classify")
    assert first.exit_code == 0, first.output
    result = run("predict", folder, "--output", tmp_path / "out", "--level", "classify")
    assert "left out: 1 folder with results of biounet-edge" in result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["images"], summary["read"], summary["failed"]) == (5, 5, 0)
    assert {part["reason"]: (part["count"], part["kinds"]) for part in summary["left_out"]} == {
        "folders that a system keeps beside photographs": (1, ["@eaDir"]),
        "folders with results of biounet-edge": (1, []),
        "photographs in formats that are not read": (1, ["HEIC"]),
    }
