"""The table of AUROC and rates, on numbers worked by hand."""

import pytest
from typer.testing import CliRunner

from benchmarks.foreign.__main__ import app
from benchmarks.foreign.rejection import read_scores, rejection_table
from biounet_edge.errors import InputError


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


def test_command_prints_the_table(tmp_path):
    (tmp_path / "foreign.csv").write_text("picture,kind,score\na,noise,-9\nb,noise,-8\n")
    (tmp_path / "familiar.csv").write_text("picture,score\nc,-1\nd,-2\n")
    result = CliRunner().invoke(
        app, ["table", str(tmp_path / "foreign.csv"), str(tmp_path / "familiar.csv"), "--threshold", "-5"]
    )
    assert result.exit_code == 0
    assert [row[:4] for row in rows(result.stdout)] == [
        ["noise", "2", "1.000", "100.0%"],
        ["familiar: source", "2", "", "0.0%"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind\nnoise\n", "should be a table with a column 'score'"),
        ("kind,score\n", "at least one row"),
        ("kind,score\nnoise,nan\n", "line 2: expected a finite number as score, got 'nan'"),
        ("kind,score\nnoise,1\nnoise,high\n", "line 3: expected a finite number as score, got 'high'"),
    ],
)
def test_a_table_without_scores_is_refused(text, message, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(path, "kind")


def test_a_missing_table_ends_with_1(tmp_path):
    missing = str(tmp_path / "missing.csv")
    result = CliRunner().invoke(app, ["table", missing, missing, "--threshold", "0"])
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr.replace("\n", " ")
