"""A report that is completed with the cards of an earlier run."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from biounet_edge import OutputError, PredictionFailure
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.prediction import Prediction
from biounet_edge.results.html import REPORT_NAME, ReportWriter, writer
from biounet_edge.results.html.card_file import PART_NAME

HOSTILE = 'two  spaces & "quotes" > \u202e\udcff'


@pytest.fixture
def report(tmp_path, bundle):
    return lambda total, resume=True: ReportWriter(tmp_path, bundle, "full", "cpu", total, resume=resume)


def image(stem: str) -> InputImage:
    return InputImage(Path(f"{stem}.jpg"), stem)


def bare(prediction: Prediction) -> Prediction:
    """A prediction as a journal has it: without pictures."""
    findings = {
        name: replace(finding, model_heatmap=None, model_mask_probability=None)
        for name, finding in prediction.indicators.items()
    }
    return replace(prediction, preview=None, indicators=findings)


def cards(folder: Path) -> list[tuple[str, str]]:
    """(order, rest) of each card, in the page's order."""
    lines = (folder / REPORT_NAME).read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith('<li class="card"')]
    return [
        (re.search(r'data-order="(\d+)"', line)[1], re.sub(r'data-order="\d+"', "", line)) for line in found
    ]


def kill(page: ReportWriter) -> None:
    """Ends a run as the system does: nothing is put in order."""
    page._cards._file.close()


def test_finished_report_is_used_again(report, predict, tmp_path):
    stems = ["a", HOSTILE, "c"]
    with report(3) as page:
        for stem in stems:
            page.write(image(stem), predict(f"{stem}.jpg"))
    first = cards(tmp_path)
    with report(4) as page:
        page.write(image("new"), predict("new.jpg"))
        for stem in stems:
            assert page.has(image(stem), bare(predict(f"{stem}.jpg")))
            page.keep(image(stem), bare(predict(f"{stem}.jpg")))
    assert [rest for _, rest in cards(tmp_path)[1:]] == [rest for _, rest in first]
    assert [order for order, _ in cards(tmp_path)] == ["1", "2", "3", "4"]
    assert "4 photographs read" in (tmp_path / REPORT_NAME).read_text(encoding="utf-8")


def test_cards_of_a_killed_run_are_used_again(report, predict, tmp_path):
    page = report(2)
    page.write(image("a"), predict())
    kill(page)
    with (tmp_path / PART_NAME).open("ab") as file:
        file.write(b'<li class="card" data-stem="b" data-')  # it was killed while it wrote the next card
    with report(2) as page:
        page.keep(image("a"), bare(predict()))
        assert not page.has(image("b"), bare(predict()))
        page.write(image("b"), predict())
    assert [order for order, _ in cards(tmp_path)] == ["1", "2"]
    assert not (tmp_path / PART_NAME).exists()


def test_failure_is_kept_without_a_card(report, tmp_path):
    with report(1) as page:
        failure = PredictionFailure("a.jpg", "the file is empty")
        assert page.has(image("a"), failure)
        page.keep(image("a"), failure)
    assert "the file is empty" in (tmp_path / REPORT_NAME).read_text(encoding="utf-8")


def test_card_of_another_prediction_is_not_used(report, predict):
    with report(1) as page:
        page.write(image("a"), predict())
    with report(1) as page:
        assert not page.has(image("a"), bare(predict(contributions=(0, 0, 0, 0, 0))))
        page.write(image("a"), predict())


def test_card_of_another_bundle_is_not_used_although_its_probability_is_the_same(
    report, predict, predict_undecided, undecided_bundle, tmp_path
):
    with report(1) as page:
        page.write(image("a"), predict())
    with ReportWriter(tmp_path, undecided_bundle, "full", "cpu", 1, resume=True) as page:
        assert predict_undecided().melanoma_probability == predict().melanoma_probability
        assert not page.has(image("a"), bare(predict_undecided()))
        page.write(image("a"), predict_undecided())


def test_card_of_an_indicator_without_an_operating_point_is_used_again(
    predict_undecided, undecided_bundle, tmp_path
):
    def report() -> ReportWriter:
        return ReportWriter(tmp_path, undecided_bundle, "full", "cpu", 1, resume=True)

    with report() as page:
        page.write(image("a"), predict_undecided())
    first = cards(tmp_path)
    with report() as page:
        page.keep(image("a"), bare(predict_undecided()))
    assert cards(tmp_path) == first
    assert "probability only, 100%" in first[0][1]


def test_cards_are_forgotten_without_resume(report, predict):
    page = report(1)
    page.write(image("a"), predict())
    kill(page)
    with report(1, resume=False) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())


def test_card_is_used_only_if_its_photograph_is_where_the_others_are(report, predict, tmp_path, monkeypatch):
    with report(1) as page:
        page.write(image("a"), predict())
    monkeypatch.setattr(writer, "EMBEDDED", 0)
    with report(1) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())
    with report(1) as page:
        page.keep(image("a"), bare(predict()))
    (tmp_path / "report" / "a.jpg").unlink()
    with report(1) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())


@pytest.mark.parametrize("size", [0, 100])
def test_card_whose_photograph_was_cut_off_is_not_used(report, predict, tmp_path, monkeypatch, size):
    monkeypatch.setattr(writer, "EMBEDDED", 0)
    with report(1) as page:
        page.write(image("a"), predict())
    os.truncate(tmp_path / "report" / "a.jpg", size)
    with report(1) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())


def test_kept_card_shows_the_folder_of_its_run(report, predict, tmp_path):
    with report(1) as page:
        page.write(image("a"), predict("in/a.jpg"))
    with report(1) as page:
        page.keep(image("a"), bare(predict("C:\\1/<b>/a.jpg")))
    assert '<p class="folder"><bdi>C:\\1/&lt;b&gt;</bdi></p>' in (tmp_path / REPORT_NAME).read_text()
    with report(1) as page:
        page.keep(image("a"), bare(predict("a.jpg")))
    assert '<p class="folder"><bdi></bdi></p>' in (tmp_path / REPORT_NAME).read_text()


def test_report_in_another_encoding_is_not_used(report, predict, tmp_path):
    (tmp_path / REPORT_NAME).write_bytes(b'<li class="card" data-stem="a" data-name="M\xfcller"></li>\n')
    with report(1) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_in_place_of_the_report_is_not_waited_for(report, predict, tmp_path):
    os.mkfifo(tmp_path / REPORT_NAME)
    with report(1) as page:
        assert not page.has(image("a"), bare(predict()))
        page.write(image("a"), predict())
    assert len(cards(tmp_path)) == 1


@pytest.mark.parametrize("resume", [True, False])
def test_half_a_card_is_written_over(report, predict, tmp_path, resume):
    with report(2) as page:
        page.write(image("x"), predict())
    with report(2, resume) as page:
        page.write(image("a"), predict())
        with (tmp_path / PART_NAME).open("ab") as file:
            file.write(b'<li class="card" data-stem="half"')  # as on a full disk
        page.write(image("b"), predict())
    assert len(cards(tmp_path)) == 2
    assert "half" not in (tmp_path / REPORT_NAME).read_text(encoding="utf-8")


def test_keep_says_where_a_card_has_gone(report, predict):
    with (
        report(1) as page,
        pytest.raises(
            OutputError, match=r"the card of a in .*report\.html was changed or removed during the run"
        ),
    ):
        page.keep(image("a"), bare(predict()))
