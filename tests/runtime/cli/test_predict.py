"""What `predict` reads, writes and prints."""

import json
import os
import sys
from pathlib import Path
from typing import get_args

import cv2
import pytest
from typer.testing import CliRunner

from biounet_edge import INDICATORS, Predictor
from biounet_edge.bundle.manifest import Level
from biounet_edge.cli.main import app

from .written import rows


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


def test_predict_prints_a_json_line_per_image(run, folder, tmp_path):
    (folder / "empty.png").touch()
    result = run("predict", folder, "--output", tmp_path / "out", "--level", "classify", "--json")
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
    result = run("predict", tmp_path / "images", "--output", tmp_path / "out", "--level", "classify")
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


def test_predict_says_what_it_computes_on_and_why(run, folder, tmp_path):
    result = run(
        "predict", folder / "a.jpg", "--output", tmp_path / "out", "--device", "auto", "--level", "classify"
    )
    assert result.exit_code == 0, result.output
    first = result.stderr.splitlines()[0]
    assert first.startswith("computing on ")
    assert "not available: tensorrt" in first


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


def test_predict_reads_the_real_samples(run, shared_data, tmp_path):
    images = shared_data / "real-samples" / "images"
    result = run("predict", images, "--output", tmp_path / "out", "--level", "classify")
    assert result.exit_code == 0, result.output
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok"] * 24


def test_predict_finds_the_demo_bundle_by_itself(folder, tmp_path, monkeypatch, bundle):
    monkeypatch.setattr("biounet_edge.bundle.folder.default_bundle", lambda: bundle.folder)
    arguments = ["predict", str(folder), "--output", str(tmp_path / "out"), "--level", "classify"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with Predictor(level="classify") as predictor:
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
