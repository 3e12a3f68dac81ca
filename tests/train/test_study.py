"""docs/study: its tables are those of its runs."""

from pathlib import Path

import pytest

from train.tables.rows import ROWS
from train.tables.runs import read_runs
from train.tables.tables import format_tables

STUDY = Path(__file__).parents[2] / "docs" / "study"


@pytest.fixture(scope="module")
def folders() -> list[Path]:
    return sorted((STUDY / "runs").iterdir())


def test_tables_are_those_of_the_runs(folders: list[Path]) -> None:
    assert (STUDY / "tables.md").read_text(encoding="utf-8") == format_tables(folders)


def test_every_row_has_a_run(folders: list[Path]) -> None:
    assert {run.row for run in read_runs(folders)} == set(ROWS)


def test_every_run_was_trained_by_a_commit_as_it_is(folders: list[Path]) -> None:
    assert all(len(revision) == 40 for run in read_runs(folders) for revision in run.revisions)
