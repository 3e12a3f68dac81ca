"""The table of AUROC and rates, on numbers worked by hand."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.foreign.__main__ import app
from benchmarks.foreign.rejection import read_scores, rejection_table
from biounet_edge.errors import InputError

DEMO = Path(__file__).resolve().parents[3] / "engines" / "demo"


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_table_has_a_row_per_kind_all_kinds_and_the_familiar():
    table = rejection_table({"noise": [0.0, 1.0], "forms": [3.0, 6.0]}, {"site": [2.0, 4.0, 5.0, 7.0]}, 2.5)
    # Of the 8 pairs with a form, the familiar one is higher in 3 + 1; of those with noise, in all.
    assert rows(table) == [
        ["noise", "2", "1.000", "100.0%", "34.2% to 100.0%"],
        ["forms", "2", "0.500", "0.0%", "0.0% to 65.8%"],
        ["all kinds", "4", "0.750", "50.0%", "15.0% to 85.0%"],
        ["familiar: site", "4", "", "25.0%", "4.6% to 69.9%"],
    ]


def test_a_score_at_the_threshold_is_kept():
    (noise, familiar) = rows(rejection_table({"noise": [1.0]}, {"site": [1.0]}, 1.0))
    assert (noise[2:4], familiar[3]) == (["0.500", "0.0%"], "0.0%")


def write(folder, *lines):
    folder.mkdir()
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return str(folder)


def test_command_prints_the_table(tmp_path):
    foreign = write(
        tmp_path / "foreign", "image,familiarity", "judge/noise/a.png,-9e9", "judge/noise/b.png,-8e9"
    )
    site = write(tmp_path / "site", "image,familiarity", "photos/c.jpg,8e9", "photos/d.jpg,9e9")
    result = CliRunner().invoke(app, ["table", foreign, site, "--bundle", str(DEMO)])
    assert result.exit_code == 0
    assert [row[:4] for row in rows(result.stdout)] == [
        ["noise", "2", "1.000", "100.0%"],
        ["familiar: site", "2", "", "0.0%"],
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image", "a.png"], "should have a column 'familiarity'"),
        (["image,familiarity"], "at least one row"),
        (["image,familiarity", "a.png,nan"], "line 2: expected a finite number as familiarity, got 'nan'"),
        (
            ["image,familiarity", "a.png,1", "b.png,"],
            r"line 3: .*, got ''",
        ),
    ],
)
def test_a_table_without_scores_is_refused(lines, message, tmp_path):
    write(tmp_path / "of", *lines)
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "of")


def test_a_missing_table_ends_with_1(tmp_path):
    missing = str(tmp_path / "missing")
    result = CliRunner().invoke(app, ["table", missing, missing, "--bundle", str(DEMO)])
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr.replace("\n", " ")
