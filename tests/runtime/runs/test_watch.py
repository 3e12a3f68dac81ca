import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from biounet_edge import ImageError, InputError, Predictor
from biounet_edge.photographs import file as image_file
from biounet_edge.photographs.file import read_file
from biounet_edge.runs.folder import RunOptions
from biounet_edge.runs.watch import watch_folder

OPTIONS = RunOptions(batch_size=1)


@pytest.fixture(scope="module")
def classifying(bundle):
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        yield predictor


class Watch:
    """A watch on a thread of its own, with waits short enough for a test."""

    def __init__(self, predictor: Predictor, folder: Path, output: Path, settle_s: float = 0.2) -> None:
        self.names: list[str] = []
        self.lines: list[str] = []
        self.stop = threading.Event()
        self._run = watch_folder(
            predictor, folder, output, OPTIONS, self.stop, settle_s=settle_s, interval_s=0.02,
            retry_s=0.1, tell=self.lines.append,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._collect)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the watch does not stop"

    def _collect(self) -> None:
        for item in self._run:
            self.names.append(Path(item.outcome.source).name)

    def wait(self, count: int) -> list[str]:
        """Waits for so many photographs to have been read."""
        end = time.monotonic() + 20
        while len(self.names) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.names


def rows(output: Path) -> list[str]:
    with (output / "predictions.csv").open(newline="") as file:
        return [Path(row["image"]).name for row in csv.DictReader(file)]


def test_watch_reads_what_is_there_and_what_arrives(classifying, photograph, write_image, tmp_path):
    write_image(tmp_path / "in" / "b.png", photograph)
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(1) == ["b.png"]
        write_image(tmp_path / "in" / "sub" / "a.png", photograph[::-1])
        assert watch.wait(2) == ["b.png", "a.png"]
        write_image(tmp_path / "in" / "b.png", photograph[:, ::-1])
        assert watch.wait(3) == ["b.png", "a.png", "b.png"]
    assert sorted(rows(tmp_path / "out")) == ["a.png", "b.png"]


def test_watch_waits_until_a_file_has_stopped_growing(classifying, photograph, write_image, tmp_path):
    content = write_image(tmp_path / "whole.png", photograph).read_bytes()
    (tmp_path / "in").mkdir()
    with Watch(classifying, tmp_path / "in", tmp_path / "out", settle_s=3) as watch:
        with (tmp_path / "in" / "a.png").open("wb") as file:
            for start in range(0, len(content), len(content) // 5 + 1):
                file.write(content[start : start + len(content) // 5 + 1])
                file.flush()
                time.sleep(0.2)
                assert watch.names == []
        assert watch.wait(1) == ["a.png"]
    assert (tmp_path / "out" / "predictions.csv").read_text().count(",ok,") == 1


def test_watch_goes_on_after_it_was_stopped(classifying, photograph, write_image, tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, photograph)
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        watch.wait(2)
    write_image(tmp_path / "in" / "c.png", photograph)
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(1) == ["c.png"]
    assert rows(tmp_path / "out") == ["a.png", "b.png", "c.png"]


def test_watch_reports_what_cannot_be_read_once_and_reads_the_rest(
    classifying, photograph, write_image, tmp_path
):
    write_image(tmp_path / "in" / "good.png", photograph)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(2) == ["bad.png", "good.png"]
        time.sleep(0.5)
        assert len(watch.names) == 2


def test_watch_tries_again_what_could_not_be_opened(
    classifying, photograph, write_image, tmp_path, monkeypatch
):
    for name in ("locked.png", "open.png"):
        write_image(tmp_path / "in" / name, photograph)
    tries = []

    def locked_for_a_while(path):
        tries.append(time.monotonic())
        if path.name == "locked.png" and len(tries) < 6:
            raise ImageError("the file cannot be read: Permission denied") from PermissionError()
        return read_file(path)

    monkeypatch.setattr("biounet_edge.photographs.source.read_file", locked_for_a_while)
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(6) == ["locked.png", "open.png", *["locked.png"] * 4]
        assert watch.lines == []
        time.sleep(0.5)
        assert len(watch.names) == 6
    waits = np.diff(tries[1:])
    assert (waits > [0.09, 0.19, 0.39, 0.79]).all()  # doubled each time
    assert rows(tmp_path / "out") == ["locked.png", "open.png"]


def test_watch_survives_a_folder_that_is_gone_for_a_while(classifying, photograph, write_image, tmp_path):
    write_image(tmp_path / "in" / "a.png", photograph)
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        watch.wait(1)
        shutil.move(tmp_path / "in", tmp_path / "away")
        end = time.monotonic() + 20
        while not watch.lines and time.monotonic() < end:
            time.sleep(0.02)
        write_image(tmp_path / "away" / "b.png", photograph)
        shutil.move(tmp_path / "away", tmp_path / "in")
        assert watch.wait(2) == ["a.png", "b.png"]
    assert watch.lines == [f"the folder {tmp_path / 'in'} cannot be read for now: No such file or directory"]
    assert rows(tmp_path / "out") == ["a.png", "b.png"]


def test_watch_refuses_a_folder_that_is_not_there(classifying, tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*in: name the one that photographs arrive in"):
        next(watch_folder(classifying, tmp_path / "in", tmp_path / "out", OPTIONS, threading.Event()))


def test_watch_refuses_its_output_folder(classifying, tmp_path):
    with pytest.raises(InputError, match="is the output folder itself: choose another for the results with"):
        next(watch_folder(classifying, tmp_path, tmp_path, OPTIONS, threading.Event()))


def test_watch_refuses_a_folder_whose_name_is_too_long(classifying, tmp_path):
    with pytest.raises(
        InputError, match=r"there is no folder .*xxx: name the one that photographs arrive in"
    ):
        next(watch_folder(classifying, tmp_path / ("x" * 300), tmp_path, OPTIONS, threading.Event()))


def test_watch_says_at_its_start_that_an_extra_is_missing(classifying, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "biounet_edge.results.dicom.authorship", None)
    (tmp_path / "in").mkdir()
    options = RunOptions(("dicom-sr",), batch_size=1)
    with pytest.raises(InputError, match=r"dicom-sr cannot be written, .* is not installed: pip install"):
        next(watch_folder(classifying, tmp_path / "in", tmp_path / "out", options, threading.Event()))


def summary(output: Path, images: int) -> dict:
    """The summary of a watch, once it counts so many photographs."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            content = json.loads((output / "summary.json").read_text(encoding="utf-8"))
            if content["images"] == images:
                return content
        time.sleep(0.02)
    raise AssertionError(f"no summary of {images} photographs")


def test_watch_writes_a_summary_and_tells_of_photographs_that_nobody_reads(
    classifying, photograph, write_image, tmp_path
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gif").touch()
    (tmp_path / "in" / "notes.txt").touch()
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        first = summary(tmp_path / "out", 0)
        write_image(tmp_path / "in" / "a.png", photograph)
        (tmp_path / "in" / "bad.png").write_bytes(b"no image")
        watch.wait(2)
        second = summary(tmp_path / "out", 2)
    assert {part["reason"]: part["count"] for part in first["left_out"]} == {
        "photographs in formats that are not read": 1, "files that are no photographs": 1,
    }  # fmt: skip
    assert (second["read"], second["failed"]) == (1, 1)
    assert second["left_out"] == first["left_out"]
    assert watch.lines == ["left out: 1 photograph in a format that is not read: GIF"]


@pytest.mark.parametrize("limit", ["LARGE_FILE_BYTES", "MAX_FILE_BYTES"])
def test_watch_reports_a_large_file_that_is_no_photograph_once(
    classifying, photograph, write_image, tmp_path, monkeypatch, limit
):
    monkeypatch.setattr(image_file, limit, 100_000)
    write_image(tmp_path / "in" / "good.png", photograph)
    (tmp_path / "in" / "large.png").write_bytes(bytes(200_000))
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(2) == ["good.png", "large.png"]
        time.sleep(0.5)
        assert len(watch.names) == 2
    with Watch(classifying, tmp_path / "in", tmp_path / "out") as watch:
        time.sleep(1)
        assert watch.names == []
    assert len(rows(tmp_path / "out")) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_watch_command_ends_with_sigterm(bundle, photograph, write_image, tmp_path):
    write_image(tmp_path / "in" / "a.png", photograph)
    command = [sys.executable, "-c", "from biounet_edge.cli.main import main; main()", "watch", "in"]
    options = ["--bundle", str(bundle.folder), "--device", "cpu", "--level", "classify", "--settle", "0.1"]
    with subprocess.Popen(
        [*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        patience = threading.Timer(60, process.kill)
        patience.start()
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=30)
        patience.cancel()
    assert line.startswith("in/a.png: melanoma ")
    assert process.returncode == 0
    assert "stopped; what was finished is kept" in messages
    assert rows(tmp_path / "predictions") == ["a.png"]


def test_watch_tells_once_of_each_photograph_without_a_diagnosis(judge, photograph, write_image, tmp_path):
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    from ..dicom_files import dataset, write

    write_image(tmp_path / "in" / "dark.png", photograph // 4)
    write(tmp_path / "in" / "film", dataset(np.stack([photograph] * 3), frames=3, Modality="CR"))
    with Watch(judge, tmp_path / "in", tmp_path / "out") as watch:
        assert watch.wait(2) == ["dark.png", "film"]
        write_image(tmp_path / "in" / "bright.png", photograph)
        assert watch.wait(3) == ["dark.png", "film", "bright.png"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {Path(row["image"]).name: row["category"] for row in csv.DictReader(file)}
    assert rows == {"bright.png": "", "dark.png": "unfamiliar", "film": "skipped"}
