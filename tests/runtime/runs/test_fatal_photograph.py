"""Photographs that kill the process that reads them, as a decoder that crashes does."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from biounet_edge import Predictor
from biounet_edge.photographs.discovery import discover
from biounet_edge.photographs.file import checksum
from biounet_edge.results.journal import JOURNAL_NAME
from biounet_edge.runs.folder import RunOptions, run_folder
from biounet_edge.runs.watch import watch_folder

from .folder_runs import IMAGES

KILLED = "killed 3 times while it read this photograph, so it is skipped"

# A process whose decoder dies of photographs that have a colour of their own at their corner.
COMMAND = """
import os, signal, sys
from biounet_edge import predictor
from biounet_edge.cli.main import main

resize = predictor.resize_to_input

def deadly(pixels, height, width):
    if tuple(pixels[0, 0]) == (1, 2, 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return resize(pixels, height, width)

predictor.resize_to_input = deadly
main()
"""


def paint(folder: Path, write_image, photograph: np.ndarray, *names: str) -> None:
    image = photograph.copy()
    image[0, 0] = (1, 2, 3)
    for number, name in enumerate(names):
        image[5, 5] = number
        write_image(folder / name, image)


@pytest.fixture
def start(bundle):
    """Runs the command to its end; returns its exit code and what it said."""

    def run(images: Path, output: Path, *options: str) -> tuple[int, str]:
        command = [sys.executable, "-c", COMMAND, "predict", str(images), "--output", str(output)]
        command += ["--bundle", str(bundle.folder), "--device", "cpu", "--level", "classify", *options]
        process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return process.returncode, process.stderr

    return run


def rows(output: Path) -> dict[str, str | None]:
    """The error of each photograph, by its name."""
    lines = map(json.loads, (output / "predictions.jsonl").read_text().splitlines())
    return {Path(line["image"]).name: line.get("error") for line in lines}


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
@pytest.mark.parametrize("batch_size", ["1", "8"])
def test_photograph_that_kills_is_skipped_after_three_deaths_and_no_other(
    folder, photograph, write_image, start, tmp_path, batch_size
):
    paint(folder, write_image, photograph, "3b.png")
    output = tmp_path / "out"
    ends = [start(folder, output, "--batch-size", batch_size) for _ in range(4)]
    assert [code for code, _ in ends] == [-9, -9, -9, 3]
    assert "an earlier run was killed while it read" in ends[1][1]
    assert "tried one by one" in ends[1][1]
    errors = rows(output)
    assert len(errors) == IMAGES + 1
    assert KILLED in errors.pop("3b.png")
    assert [name for name, error in errors.items() if error] == ["4.png"]  # which is cut off
    code, said = start(folder, output, "--batch-size", batch_size)
    assert (code, f"kept {IMAGES + 1} results" in said, KILLED in said) == (3, True, True)
    assert start(folder, output, "--no-resume")[0] == -9


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
def test_anonymous_run_skips_what_kills_it_without_its_name(folder, photograph, write_image, start, tmp_path):
    paint(folder, write_image, photograph, "Mustermann.png")
    output = tmp_path / "out"
    codes = [start(folder, output, "--anonymous")[0] for _ in range(4)]
    assert codes == [-9, -9, -9, 3]
    assert sum(KILLED in (error or "") for error in rows(output).values()) == 1
    assert b"Mustermann" not in (output / JOURNAL_NAME).read_bytes()


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def deadly(counting, monkeypatch):
    """Lets the predictor die of chosen photographs; returns what was computed, and with how many others."""
    prepare, fatal = Predictor._prepare, set()

    def dies(self, source, *arguments):
        prepared = prepare(self, source, *arguments)
        if Path(source).name in fatal:
            raise Killed
        return prepared

    monkeypatch.setattr(Predictor, "_prepare", dies)
    return fatal


def attempt(
    predictor, folder: Path, output: Path, tell=lambda line: None, **options
) -> dict[str, str | None]:
    predictor.batches = []
    options = RunOptions(**{"batch_size": 4} | options)
    with suppress(Killed):
        list(run_folder(predictor, discover([folder], output), output, options, tell=tell))
    return rows(output) if (output / "predictions.jsonl").exists() else {}


def test_suspects_are_tried_by_themselves_and_then_computed_with_their_batch(
    counting, deadly, folder, tmp_path
):
    deadly.add("1.png")
    attempt(counting, folder, tmp_path / "out")
    deadly.clear()
    said = []
    errors = attempt(counting, folder, tmp_path / "out", tell=said.append)
    assert len(said) == 1
    alone = counting.batches[:-2]
    assert alone == [1] * len(alone)  # as many as were in work; the fifth image is cut off
    assert len(alone) >= 1
    assert counting.batches[-2:] == [4, 2]
    assert [name for name, error in errors.items() if error] == ["4.png"]
    said.clear()
    attempt(counting, folder, tmp_path / "out", tell=said.append)
    assert said == counting.batches == []


def test_photographs_that_kill_together_are_computed_one_by_one_after_a_second_death(
    counting, deadly, folder, tmp_path, monkeypatch
):
    run = counting.backend.run

    def too_many(images):
        if len(images) > 1:
            raise Killed
        return run(images)

    monkeypatch.setattr(counting.backend, "run", too_many)
    for _ in range(3):
        errors = attempt(counting, folder, tmp_path / "out", batch_size=7)
    assert counting.batches == [1] * 6
    assert [name for name, error in errors.items() if error] == ["4.png"]


def test_photograph_that_was_replaced_is_tried_like_any_other(counting, deadly, folder, tmp_path):
    deadly.add("1.png")
    for _ in range(3):
        attempt(counting, folder, tmp_path / "out")
    deadly.clear()
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    assert attempt(counting, folder, tmp_path / "out")["1.png"] is None


def without_room(self, height, width):
    """Stands for a photograph that no memory is free for now."""
    self._before_decoding(checksum(self._path))
    raise MemoryError


def test_failure_that_may_pass_is_no_suspect_for_ever(counting, deadly, folder, tmp_path, monkeypatch):
    deadly.add("1.png")
    attempt(counting, folder, tmp_path / "out")
    deadly.clear()

    said = []
    with monkeypatch.context() as patch:
        patch.setattr("biounet_edge.photographs.source._File.read", without_room)
        attempt(counting, folder, tmp_path / "out", tell=said.append)
    assert len(said) == 1
    attempt(counting, folder, tmp_path / "out", tell=said.append)
    assert len(said) == 1


def test_watch_skips_what_killed_it_three_times(counting, deadly, folder, tmp_path):
    deadly.add("1.png")
    said = []
    for _ in range(4):
        found = watch_folder(
            counting, folder, tmp_path / "out", RunOptions(batch_size=1), Event(), settle_s=0, interval_s=0,
            tell=said.append,
        )  # fmt: skip
        outcomes = []
        with suppress(Killed):
            while len(outcomes) < IMAGES and not any(KILLED in getattr(o, "error", "") for o in outcomes):
                outcomes.append(next(found).outcome)
        found.close()
    assert KILLED in outcomes[-1].error
    assert any("tried one by one" in line for line in said)
