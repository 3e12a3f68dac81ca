import pytest

from biounet_edge import PredictionFailure
from biounet_edge.results.tables import csv_row


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg", "\ta.jpg", "\uff1d1.jpg"])
def test_csv_row_keeps_names_from_running_as_formulas(name):
    assert csv_row(PredictionFailure(name, "=bad"))["image"] == f"'{name}"
    assert csv_row(PredictionFailure(name, "=bad"))["error"] == "'=bad"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a;=1.jpg", "a;'=1.jpg"),
        ("a\n@b.jpg", "a\n'@b.jpg"),
        ("a;b=c-d.jpg", "a;b=c-d.jpg"),
        ("a\tb", "a\tb"),
    ],
)
def test_csv_row_keeps_names_from_becoming_two_cells_of_which_one_runs(name, cell):
    assert csv_row(PredictionFailure(name, "no"))["image"] == cell
