import json
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest

from biounet_edge import Predictor
from biounet_edge.photographs.discovery import discover
from biounet_edge.runs.fingerprint import fingerprint
from biounet_edge.runs.folder import RunOptions, run_folder

from .folder_runs import IMAGES, finish, results


def test_second_run_keeps_everything(counting, folder, tmp_path):
    assert finish(counting, folder, tmp_path / "out") == [False] * IMAGES
    first = results(tmp_path / "out")
    assert finish(counting, folder, tmp_path / "out") == [True] * IMAGES
    assert counting.batches == []
    assert results(tmp_path / "out") == first


def test_kept_images_are_equal_to_computed_ones(counting, folder, tmp_path):
    options = RunOptions(batch_size=2)
    images = discover([folder])
    computed, kept = (
        [item.outcome.to_dict() for item in run_folder(counting, images, tmp_path / "out", options)]
        for _ in range(2)
    )
    assert kept == computed


SAVE = ("masks", "overlays")


@pytest.fixture(scope="module")
def undisturbed(predictor, write_folder, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A folder of images, and what a run over it writes."""
    root = tmp_path_factory.mktemp("undisturbed")
    folder = write_folder(root / "images")
    finish(predictor, folder, root / "whole", save=SAVE)
    return folder, results(root / "whole")


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 6, 7])
def test_stopped_and_continued_run_writes_what_an_undisturbed_one_does(
    predictor, undisturbed, tmp_path, after
):
    folder, whole = undisturbed
    options = RunOptions(SAVE, batch_size=2)
    with closing(run_folder(predictor, discover([folder]), tmp_path / "out", options)) as run:
        for _ in range(after):
            next(run)
    finish(predictor, folder, tmp_path / "out", save=SAVE)
    assert results(tmp_path / "out") == whole


@pytest.mark.parametrize("after", [3, 7])
def test_continued_run_expects_no_mask_without_an_operating_point(
    undecided_predictor, folder, tmp_path, after
):
    save = ("masks", "overlays", "probabilities")
    finish(undecided_predictor, folder, tmp_path / "whole", save=save)
    options = RunOptions(save, batch_size=2)
    with closing(run_folder(undecided_predictor, discover([folder]), tmp_path / "out", options)) as run:
        for _ in range(after):
            next(run)
    assert any(finish(undecided_predictor, folder, tmp_path / "out", save=save))
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4 * (IMAGES - 1)
    assert len(list((tmp_path / "out" / "probabilities").iterdir())) == 5 * (IMAGES - 1)


def test_run_with_other_operating_points_keeps_nothing(predictor, undecided_predictor, folder, tmp_path):
    finish(predictor, folder, tmp_path / "out", save=("report",))
    assert not any(finish(undecided_predictor, folder, tmp_path / "out", save=("report",)))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("probability only, ") == IMAGES - 1


@pytest.mark.parametrize("after", [0, 3, 6, 7])
def test_continued_run_has_the_report_of_an_undisturbed_one(predictor, folder, tmp_path, after):
    finish(predictor, folder, tmp_path / "whole", save=("report",))
    options = RunOptions(("report",), batch_size=2)
    with closing(run_folder(predictor, discover([folder]), tmp_path / "out", options)) as run:
        for _ in range(after):
            next(run)
    kept = finish(predictor, folder, tmp_path / "out", save=("report",))
    assert any(kept) == (after > 2)
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("out", "whole")]
    assert pages[0].count('<li class="card"') == IMAGES - 1
    first, second = (page[page.index('<li class="card"') :] for page in pages)  # above them stands the time
    assert first == second


def test_image_whose_card_is_gone_is_computed_again(predictor, folder, tmp_path):
    finish(predictor, folder, tmp_path / "out", save=("report",))
    (tmp_path / "out" / "report.html").unlink()
    kept = finish(predictor, folder, tmp_path / "out", save=("report",))
    assert not any(kept)
    assert "Incomplete" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_continued_run_computes_whole_batches_of_what_is_missing(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out")
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
    assert finish(counting, folder, tmp_path / "out") == [False, False] + [True] * 5
    assert counting.batches == [2]


def test_killed_run_of_other_options_takes_the_results_it_has_overwritten(
    predictor, folder, tmp_path, monkeypatch
):
    finish(predictor, folder, tmp_path / "out", save=("masks",))

    def killed(self, stem, outcome, files):
        raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr("biounet_edge.results.journal.Journal.add", killed)
        with pytest.raises(SystemError):
            finish(predictor, folder, tmp_path / "out", save=("masks", "overlays"))
    kept = finish(predictor, folder, tmp_path / "out", save=("masks",))
    assert kept[:2] == [False, False]


def test_no_resume_computes_everything(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out")
    assert finish(counting, folder, tmp_path / "out", resume=False) == [False] * IMAGES


def test_image_that_has_a_new_name_or_is_gone_changes_its_row_only(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out")
    (folder / "6.png").rename(folder / "9.png")
    (folder / "5.png").unlink()
    assert finish(counting, folder, tmp_path / "out") == [True] * 4 + [False] * 2
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["image"]).name for line in lines] == [
        "0.png", "1.png", "2.png", "3.png", "4.png", "9.png",
    ]  # fmt: skip


def test_folder_that_was_moved_is_not_computed_again_and_has_its_new_paths(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out")
    moved = folder.rename(tmp_path / "moved")
    assert finish(counting, moved, tmp_path / "out") == [True] * IMAGES
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert {str(Path(json.loads(line)["image"]).parent) for line in lines} == {str(moved)}


@pytest.mark.parametrize("option", ["save", "level", "bundle"])
def test_other_options_and_bundles_are_computed_again(bundle, bundle_copy, folder, tmp_path, option):
    with Predictor(bundle, device="cpu", level="cam") as predictor:
        finish(predictor, folder, tmp_path / "out")
        if option == "save":
            assert not any(finish(predictor, folder, tmp_path / "out", save=("heatmaps",)))
            return
    if option == "bundle":
        manifest = bundle_copy / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"version": "', '"version": "9'))
    level = "classify" if option == "level" else "cam"
    with Predictor(bundle_copy, device="cpu", level=level) as predictor:
        assert not any(finish(predictor, folder, tmp_path / "out"))


@pytest.mark.parametrize("library", ["numpy", "pydicom", "pylibjpeg-openjpeg", "highdicom"])
def test_other_versions_of_libraries_are_another_run(counting, monkeypatch, library):
    first, version = fingerprint(counting, ()), metadata.version

    def other(name):
        return "another" if name == library else version(name)

    assert fingerprint(counting, ()) == first
    monkeypatch.setattr(metadata, "version", other)
    assert fingerprint(counting, ()) != first


def test_file_that_could_not_be_read_is_tried_again(counting, folder, tmp_path):
    (folder / "7.png").symlink_to(tmp_path / "later.png")
    assert finish(counting, folder, tmp_path / "out") == [False] * 8
    (tmp_path / "later.png").write_bytes((folder / "0.png").read_bytes())
    assert finish(counting, folder, tmp_path / "out") == [True] * 6 + [False] * 2
    assert '"status": "error"' not in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[7]


def test_result_file_that_was_removed_is_written_again(predictor, folder, tmp_path):
    finish(predictor, folder, tmp_path / "out", save=("masks",))
    whole = results(tmp_path / "out")
    (tmp_path / "out" / "masks" / "0_attribute_streaks.png").unlink()
    (tmp_path / "out" / "masks" / "6_attribute_streaks.png").write_bytes(b"")
    kept = finish(predictor, folder, tmp_path / "out", save=("masks",))
    assert kept == [False, False, True, True, True, True, False]
    assert results(tmp_path / "out") == whole
