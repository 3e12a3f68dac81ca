"""Processes of `biounet-edge predict` that are killed, run out of disk space, or are interrupted."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from biounet_edge.results.journal import JOURNAL_NAME

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs the signals and limits of POSIX")

# A process that was started in the background of a shell ignores SIGINT, and so does what it starts.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from biounet_edge.cli.main import main; main()"
)
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); " + COMMAND


@pytest.fixture
def make_images(tmp_path, photograph, write_image):
    """Writes small photographs, every eleventh of them cut off."""

    def make(count: int) -> Path:
        folder = tmp_path / "images"
        for i in range(count):
            path = write_image(folder / f"sub{i % 3}" / f"{i:03}.jpg", np.roll(photograph, 5 * i, axis=1))
            if i % 11 == 5:
                path.write_bytes(path.read_bytes()[:-300])
        return folder

    return make


@pytest.fixture
def start(bundle):
    """Starts runs; those that a failed test has left are killed."""
    started = []

    def run(images: Path, output: Path, *options: str, code: str = COMMAND) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, "predict", str(images), "--output", str(output)]
        command += ["--bundle", str(bundle.folder), "--device", "cpu", "--batch-size", "2", *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def results(output: Path) -> dict[str, bytes]:
    """Every file but the journal and what a killed process was writing."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.name != JOURNAL_NAME and not path.name.startswith(".tmp-")
    }


def differences(actual: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of files that are not equal, after a look that they differ by rounding alone.

    What was in work at two deaths is computed by itself, and a library may round it differently there.
    """
    assert set(actual) <= set(expected)
    differing = [name for name, content in actual.items() if content != expected[name]]
    for name in differing:
        if name.endswith(".csv"):
            rows = [list(csv.reader(io.StringIO(of[name].decode()))) for of in (actual, expected)]
            _same_but_for_rounding(*rows)
        elif name.endswith((".json", ".jsonl")):
            _same_but_for_rounding(
                *[list(map(json.loads, of[name].splitlines())) for of in (actual, expected)]
            )
        else:
            one, other = (
                cv2.imdecode(np.frombuffer(of[name], np.uint8), cv2.IMREAD_UNCHANGED).astype(float)
                for of in (actual, expected)
            )
            assert np.abs(one - other).mean() < 0.5, f"{name} is not that of an undisturbed run"
    return differing


def _same_but_for_rounding(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _same_but_for_rounding(a, b)
        return
    with suppress(ValueError, TypeError):
        one, other = float(one), float(other)
        assert one == pytest.approx(other, abs=1e-3)
        return
    assert one == other


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for the exit code and what was said on stderr."""
    errors = process.communicate(timeout=300)[1]
    return process.returncode, errors


def journal_lines(output: Path) -> int:
    """Counts the photographs that are finished."""
    try:
        return (output / JOURNAL_NAME).read_bytes().count(b'"outcome"')
    except FileNotFoundError:
        return 0


def wait_for_lines(process: subprocess.Popen[str], output: Path, lines: int) -> None:
    """Waits until a journal has so many lines, or the run that writes it has ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None and journal_lines(output) < lines:
        assert time.monotonic() < deadline, "the run writes nothing"
        time.sleep(0.001)


def kill_after(process: subprocess.Popen[str], output: Path, lines: int, seconds: float) -> None:
    """Kills a run that has added a number of lines to the journal, and some time later."""
    wait_for_lines(process, output, journal_lines(output) + lines)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("rounds", "count"), [(3, 14), pytest.param(20, 200, marks=pytest.mark.slow)], ids=["3", "20"]
)
def test_killed_run_loses_nothing_and_ends_like_an_undisturbed_one(
    make_images, start, tmp_path, rounds, count
):
    images, rng = make_images(count), random.Random(4)
    whole, output = tmp_path / "whole", tmp_path / "out"
    assert end(start(images, whole))[0] == 3
    expected, killed = results(whole), 0
    for number in range(rounds):
        finished = journal_lines(output)
        process = start(images, output)
        lines = 0 if number == 0 else rng.randint(1, 2 * count // rounds)
        kill_after(process, output, lines, rng.uniform(0, 0.05))
        killed += process.returncode == -signal.SIGKILL
        assert journal_lines(output) >= finished
        differences(results(output), expected)
    assert killed >= rounds // 2
    assert end(start(images, output))[0] == 3
    found = results(output)
    assert set(found) == set(expected)
    assert len(differences(found, expected)) < 0.2 * len(expected)
    assert not list(output.rglob(".tmp-*"))


@pytest.mark.slow
def test_interrupted_run_ends_with_130_and_is_continued(make_images, start, tmp_path):
    images, output = make_images(30), tmp_path / "out"
    assert end(start(images, tmp_path / "whole"))[0] == 3
    process = start(images, output)
    wait_for_lines(process, output, 4)
    process.send_signal(signal.SIGINT)
    code, errors = end(process)
    assert code == 130, errors
    assert "interrupted; what was finished is kept" in errors
    assert len((output / "predictions.csv").read_text().splitlines()) >= 1 + 3  # the header and what was done
    assert "results of an earlier run; --no-resume" in end(start(images, output))[1]
    assert results(output) == results(tmp_path / "whole")


@pytest.mark.slow
def test_run_on_a_full_disk_ends_with_1_and_is_continued(make_images, start, tmp_path):
    images, output = make_images(12), tmp_path / "out"
    assert end(start(images, tmp_path / "whole"))[0] == 3
    process = start(images, output, code=LIMITED.format(6000))  # no file may become larger, as on a full disk
    code, errors = end(process)
    assert code == 1, errors
    assert "cannot be written (File too large): check the free space and the permissions" in errors
    assert "Traceback" not in errors
    expected = results(tmp_path / "whole")
    for name, content in results(output).items():
        assert name.startswith(("predictions.", "summary.")) or content == expected[name]
    assert not list(output.rglob(".tmp-*"))
    assert end(start(images, output))[0] == 3
    assert results(output) == expected
