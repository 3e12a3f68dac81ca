import csv
import json
from pathlib import Path

from PIL import Image

from biounet_edge import Predictor
from biounet_edge.photographs.discovery import discover
from biounet_edge.runs.folder import RunOptions, run_folder


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predict_shows_what_it_leaves_out_in_the_report(run, folder, tmp_path):
    (folder / "notes.txt").touch()
    (folder / "clip.gif").touch()
    result = run("predict", folder, "-o", tmp_path / "out", "--level", "classify", "--save", "report")
    assert result.exit_code == 0, result.output
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<li>1 photograph in a format that is not read: GIF</li>" in report
    assert "<li>1 file that is no photograph</li>" in report


def test_predict_mentions_further_pages(run, folder, tmp_path, photograph):
    pages = [Image.fromarray(photograph), Image.fromarray(photograph[::-1, :100])]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    options = ["--output", tmp_path / "out", "--level", "classify", "--save", "report"]
    note = "1 further page of the TIFF file not read"
    for kept in (False, True):
        result = run("predict", folder, *options)
        assert result.exit_code == 0, result.output
        assert f"pages.tif: {note}" in result.stderr
        assert ("kept 6 results" in result.stderr) == kept
        assert [row["notes"] for row in rows(tmp_path / "out")].count(note) == 1
        lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["notes"] for line in lines].count([note]) == 1
        report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert report.count(f"<li>{note}</li>") == 1


def test_summary_of_an_interrupted_run_says_how_far_it_came(bundle, folder, tmp_path):
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        found = run_folder(predictor, discover([folder]), tmp_path / "out", RunOptions(batch_size=1))
        next(found)
        found.close()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["images"], summary["read"], summary["failed"]) == (5, 1, 0)
