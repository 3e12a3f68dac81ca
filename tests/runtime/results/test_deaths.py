import json

import pytest

from biounet_edge import PredictionFailure
from biounet_edge.results.journal import JOURNAL_NAME, Journal

A, B = "ab" * 32, "cd" * 32


def journal(output, run="run", **options) -> Journal:
    return Journal(output, run, **options)


def die(output, *contents: str, run: str = "run", trial: bool = False) -> None:
    """A run that begins photographs and ends without a last word."""
    opened = journal(output, run)
    for content in contents:
        opened.begin(f"name of {content[:2]}", content)
    if trial:
        opened.end(contents[0], trial=True)
    opened._file.close()


def deaths(output, content: str = A, run: str = "run") -> int:
    with journal(output, run) as opened:
        return opened.deaths.of(content)


def test_deaths_of_what_was_in_work_are_counted(tmp_path):
    for count in range(1, 4):
        die(tmp_path, A)
        assert deaths(tmp_path) == count
    assert deaths(tmp_path, B) == 0


def test_deaths_count_all_that_was_in_work_once(tmp_path):
    die(tmp_path, A, B, A)
    assert (deaths(tmp_path, A), deaths(tmp_path, B)) == (1, 1)


def test_deaths_of_another_kind_of_run_do_not_count(tmp_path):
    die(tmp_path, A, run="other")
    assert (deaths(tmp_path), deaths(tmp_path, run="other")) == (0, 1)


def test_deaths_do_not_count_what_was_finished(tmp_path):
    opened = journal(tmp_path)
    for content in (A, A, B):
        opened.begin("a", content)
    for _ in range(2):
        opened.add("a", PredictionFailure("a.jpg", "the file is empty", A), [])
    opened._file.close()
    assert (deaths(tmp_path, A), deaths(tmp_path, B)) == (0, 1)


@pytest.mark.parametrize(("trial", "expected"), [(True, 1), (False, 0)])
def test_deaths_are_forgotten_once_a_photograph_is_survived_but_for_a_trial(tmp_path, trial, expected):
    die(tmp_path, A)
    with journal(tmp_path) as opened:
        opened.begin("a", A)
        opened.end(A, trial=trial)
    assert deaths(tmp_path) == expected


def test_deaths_remain_of_what_was_skipped(tmp_path):
    die(tmp_path, A)
    with journal(tmp_path) as opened:
        opened.add("a", PredictionFailure("a.jpg", "it is skipped", A), [])
    assert deaths(tmp_path) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [(None, 0), (KeyboardInterrupt, 0), (GeneratorExit, 0), (MemoryError, 1), (ZeroDivisionError, 1)],
)
def test_a_run_that_ends_in_an_error_that_nobody_foresaw_has_died(tmp_path, error, expected):
    opened = journal(tmp_path)
    opened.begin("a", A)
    opened.__exit__(error, error() if error else None, None)
    assert deaths(tmp_path) == expected


def test_no_resume_forgets_deaths(tmp_path):
    die(tmp_path, A)
    with journal(tmp_path, resume=False) as opened:
        assert not opened.deaths
    assert deaths(tmp_path) == 0


def test_names_of_what_was_in_work_are_kept_but_of_an_anonymous_run(tmp_path):
    die(tmp_path / "named", A)
    with journal(tmp_path / "named") as opened:
        assert opened.deaths.stems == {"name of ab"}
    opened = journal(tmp_path / "anonymous", anonymous=True)
    opened.begin("Mustermann_Max_1970", A)
    opened._file.close()
    with journal(tmp_path / "anonymous", anonymous=True) as opened:
        assert (opened.deaths.stems, opened.deaths.of(A)) == (set(), 1)
    assert b"Mustermann" not in (tmp_path / "anonymous" / JOURNAL_NAME).read_bytes()


@pytest.mark.parametrize("line", [{"begins": 3}, {"ends": None}, {"ends": A}, {"outcome": {"sha256": []}}])
def test_deaths_ignore_lines_that_no_run_writes(tmp_path, line):
    journal(tmp_path).close()
    with (tmp_path / JOURNAL_NAME).open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert deaths(tmp_path) == 0
