"""A run over two photographs of which the second is too dark for the bundle under test."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biounet_edge import Category
from biounet_edge.cli.main import app
from biounet_edge.photographs.discovery import discover
from biounet_edge.runs.folder import RunOptions, run_folder

ALL = ("masks", "overlays", "heatmaps", "probabilities", "report")


@pytest.fixture
def two(tmp_path, photograph, write_image) -> Path:
    write_image(tmp_path / "in" / "bright.png", photograph)
    write_image(tmp_path / "in" / "dark.png", photograph // 4)
    return tmp_path / "in"


def finish(predictor, folder: Path, output: Path, **options) -> list:
    options = RunOptions(**{"save": ALL, "batch_size": 2} | options)
    return list(run_folder(predictor, discover([folder], output), output, options))


def files_of(output: Path, name: str) -> list[str]:
    found = (path.relative_to(output).as_posix() for path in output.rglob(f"*{name}*") if path.is_file())
    return sorted(found)


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "predictions.csv").open(newline="") as file:
        return {Path(row["image"]).stem: row for row in csv.DictReader(file)}


def command(bundle, folder: Path, output: Path, *options: str):
    arguments = ["predict", folder, "-o", output, "--bundle", bundle.folder, "--device", "cpu", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_unfamiliar_photograph_leaves_nothing_but_its_row(judge, two, tmp_path):
    output = tmp_path / "out"
    finish(judge, two, output)
    assert len(files_of(output, "bright")) == 16
    assert files_of(output, "dark") == []
    row = rows(output)["dark"]
    assert (row["status"], row["category"]) == ("unfamiliar", "unfamiliar")
    assert "does not look like the photographs" in row["error"]
    assert {row[name] for name in ("melanoma_probability", "melanoma", "streaks_probability")} == {""}
    report = (output / "report.html").read_text(encoding="utf-8")
    assert report.count('<li class="card"') == 1
    assert 'id="unfamiliar-title">Unfamiliar: not assessed (1)' in report


def test_unfamiliar_run_is_continued(judge, two, tmp_path):
    output = tmp_path / "out"
    finish(judge, two, output)
    tables = [(output / name).read_bytes() for name in ("predictions.csv", "predictions.jsonl")]
    again = finish(judge, two, output)
    assert [item.kept for item in again] == [True, True]
    assert again[1].outcome.category is Category.UNFAMILIAR
    assert [(output / name).read_bytes() for name in ("predictions.csv", "predictions.jsonl")] == tables


def test_results_of_an_accepted_photograph_go_when_it_is_not_accepted(judge, lenient, two, tmp_path):
    output = tmp_path / "out"
    finish(lenient, two, output)
    assert len(files_of(output, "dark")) == 16
    assert rows(output)["dark"]["warning"].startswith("unlike the photographs")
    assert [item.kept for item in finish(judge, two, output)] == [False, False]  # another kind of run
    assert files_of(output, "dark") == []
    assert rows(output)["dark"]["melanoma_probability"] == ""


def test_accepted_photograph_has_the_warning_in_the_report(lenient, two, tmp_path):
    finish(lenient, two, tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    bright, dark = report.split('<li class="card"')[1:]
    assert "Unfamiliar: unlike the photographs" in dark
    assert "%?</strong>" in dark
    assert "Unfamiliar: unlike" not in bright


def test_anonymous_run_names_an_unfamiliar_photograph_by_its_content(judge, two, tmp_path):
    items = finish(judge, two, tmp_path / "out", save=(), anonymous=True)
    assert items[1].outcome.source == items[1].outcome.sha256[:32]
    assert b"dark" not in (tmp_path / "out" / "predictions.jsonl").read_bytes()
    assert [item.kept for item in finish(judge, two, tmp_path / "out", save=(), anonymous=True)] == [
        True,
        True,
    ]


def test_predict_counts_unfamiliar_photographs_and_ends_with_0(judging_bundle, two, tmp_path):
    result = command(judging_bundle, two, tmp_path / "out", "--level", "classify", "--json")
    assert result.exit_code == 0, result.output
    assert "2 of 2 images read, 1 unfamiliar; results in" in result.stderr
    assert f"unfamiliar: {two / 'dark.png'}: not assessed" in result.stderr
    bright, dark = (json.loads(line) for line in result.stdout.splitlines())
    assert (bright["status"], bright["category"]) == ("ok", None)
    assert (dark["status"], dark["category"]) == ("unfamiliar", "unfamiliar")
    assert "melanoma_probability" not in dark
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["read"], summary["failed"], summary["unfamiliar"]) == (2, 0, 1)


def test_predict_ends_with_3_where_another_photograph_is_damaged(judging_bundle, two, tmp_path):
    (two / "cut.png").write_bytes((two / "bright.png").read_bytes()[:300])
    result = command(judging_bundle, two, tmp_path / "out", "--level", "classify")
    assert result.exit_code == 3, result.output
    assert "2 of 3 images read, 1 unfamiliar" in result.stderr
    assert {name: row["category"] for name, row in rows(tmp_path / "out").items()} == {
        "bright": "", "cut": "refused", "dark": "unfamiliar",
    }  # fmt: skip


def test_predict_accepts_unfamiliar_photographs_with_a_question_mark(judging_bundle, two, tmp_path):
    result = command(judging_bundle, two, tmp_path / "out", "--level", "classify", "--accept-unfamiliar")
    assert result.exit_code == 0, result.output
    assert "%?" in result.stdout
    assert "With a question mark: unlike the photographs" in " ".join(result.stdout.split())


def test_predict_says_that_a_bundle_cannot_judge(bundle, judging_bundle, two, tmp_path):
    says = "this model cannot judge"
    assert says in command(bundle, two, tmp_path / "a", "--level", "classify").stderr
    assert says not in command(judging_bundle, two, tmp_path / "b", "--level", "classify").stderr
