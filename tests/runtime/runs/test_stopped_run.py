import csv
import os
import time
from pathlib import Path

import pytest

from biounet_edge import OutputError
from biounet_edge.photographs.discovery import discover
from biounet_edge.results.html.card_file import PART_NAME
from biounet_edge.results.tables import csv_row
from biounet_edge.runs import plan
from biounet_edge.runs.folder import RunOptions, run_folder

from .folder_runs import IMAGES, finish, results, stop


def test_run_without_a_report_removes_the_cards_of_a_killed_one(counting, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PART_NAME).write_bytes(b"photographs")
    finish(counting, folder, tmp_path / "out")
    assert not (tmp_path / "out" / PART_NAME).exists()


def test_stopped_run_leaves_a_table_of_what_is_finished(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out")
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
    stop(counting, folder, tmp_path / "out", 1)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        stems = [Path(row["image"]).stem for row in csv.DictReader(file)]
    assert stems[-6:] == ["1", "2", "3", "4", "5", "6"]  # and maybe 0, whose file was being written


def test_run_that_is_stopped_while_it_is_planned_leaves_the_earlier_results(
    predictor, folder, tmp_path, monkeypatch
):
    finish(predictor, folder, tmp_path / "out", save=("report",))
    first = results(tmp_path / "out")

    def interrupt(source):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "checksum", interrupt)
    with pytest.raises(KeyboardInterrupt):
        finish(predictor, folder, tmp_path / "out", save=("report",))
    left = results(tmp_path / "out")
    left.pop(".report.part", None)
    assert left == first


def test_image_that_memory_has_no_room_for_while_planning_is_tried_again(
    counting, folder, tmp_path, monkeypatch
):
    finish(counting, folder, tmp_path / "out")

    def fail(source):
        raise MemoryError

    monkeypatch.setattr(plan, "checksum", fail)
    assert finish(counting, folder, tmp_path / "out") == [False] * IMAGES


def test_full_disk_stops_a_continued_run_with_a_sentence(counting, folder, tmp_path, monkeypatch):
    finish(counting, folder, tmp_path / "out")
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())

    rows = []

    def full(outcome):
        rows.append(outcome)
        if len(rows) == 1:
            raise OSError(28, "No space left on device")
        return csv_row(outcome)

    monkeypatch.setattr("biounet_edge.results.tables.csv_row", full)
    with pytest.raises(OutputError, match=r"predictions.csv cannot be written \(No space left on device\)"):
        finish(counting, folder, tmp_path / "out")


def test_stopped_run_keeps_the_row_of_what_it_computes_again(predictor, folder, tmp_path, monkeypatch):
    """The second image is in one batch with a new one, and its write fails."""
    finish(predictor, folder, tmp_path / "out", save=("masks",))
    (folder / "0.png").write_bytes((folder / "2.png").read_bytes())

    def fail(output, stem, *others):
        time.sleep(0.3)  # so that the others are in the queue
        raise OutputError(f"{stem} cannot be written")

    monkeypatch.setattr("biounet_edge.results.writer.write_image_files", fail)
    with pytest.raises(OutputError, match="0 cannot be written"):
        finish(predictor, folder, tmp_path / "out", save=("masks",))
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [Path(row["image"]).stem for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5", "6"]


def test_output_folder_that_is_removed_meanwhile_stops_the_run_and_is_not_made_anew(
    predictor, folder, tmp_path
):
    options = RunOptions(("masks",), batch_size=1)
    run = run_folder(predictor, discover([folder]), tmp_path / "out", options)
    next(run)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"was removed or replaced|cannot be written"):
        list(run)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_link_in_the_output_folder_does_not_lead_results_out_of_it(predictor, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "predictions.csv").symlink_to(tmp_path / "elsewhere" / "table.csv")
    with pytest.raises(OutputError, match=r"masks leads out of the output folder .*out: remove that link"):
        finish(predictor, folder, tmp_path / "out", save=("masks",))
    assert list((tmp_path / "elsewhere").iterdir()) == []
