import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from biounet_edge import INDICATORS, InputError, OutputError, Predictor
from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.cli.main import app
from biounet_edge.photographs.discovery import InputImage, discover
from biounet_edge.results.dicom.files import DicomFiles
from biounet_edge.results.kinds import DICOM_KINDS, parse_save
from biounet_edge.runs.folder import RunOptions
from biounet_edge.runs.watch import watch_folder

from ...dicom_files import dataset, write


@pytest.fixture
def run(bundle, tmp_path):
    def invoke(*arguments: object):
        texts = ["predict", *map(str, arguments), "--output", str(tmp_path / "out")]
        texts += ["--device", "cpu"]
        if "--bundle" not in texts:
            texts += ["--bundle", str(bundle.folder)]
        return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, texts)

    return invoke


def test_predict_writes_every_kind_for_dicom_sources(run, tmp_path, photograph):
    write(tmp_path / "in" / "IM1", dataset(photograph))
    write(tmp_path / "in" / "study.dcm", dataset(np.stack([photograph] * 2), frames=2))
    result = run(tmp_path / "in", "--save", ",".join(DICOM_KINDS))
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    for kind in DICOM_KINDS:
        names = sorted(path.name for path in (out / kind).iterdir())
        assert names == ["IM1.dcm", "study_0001.dcm", "study_0002.dcm"]
        assert (
            dcmread(out / kind / "IM1.dcm").StudyInstanceUID == dcmread(tmp_path / "in/IM1").StudyInstanceUID
        )
    line = json.loads((out / "predictions.jsonl").read_text().splitlines()[0])
    assert line["files"] == [f"{kind}/IM1.dcm" for kind in DICOM_KINDS]
    assert "dicom-seg/, dicom-sr/, dicom-sc/, dicom-pm/" in result.stderr
    assert "Warning" not in result.stderr


def test_predict_writes_every_kind_without_an_operating_point(run, tmp_path, photograph, undecided_bundle):
    write(tmp_path / "in" / "IM1", dataset(photograph))
    kinds = ",".join(("masks", "overlays", "report", *DICOM_KINDS))
    result = run(tmp_path / "in", "--save", kinds, "--bundle", undecided_bundle.folder)
    assert result.exit_code == 0, result.output
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert line["files"] == [
        *(f"masks/IM1_attribute_{name}.png" for name in INDICATORS if name != "streaks"),
        "overlays/IM1.jpg",
        *(f"{kind}/IM1.dcm" for kind in DICOM_KINDS),
    ]


def test_segmentation_by_a_bundle_without_any_operating_point_is_refused(
    tmp_path, photograph, undecided_bundle
):
    path = write(tmp_path / "IM1", dataset(photograph))
    points = {name: OperatingPoint(presence=None, mask=0.5) for name in INDICATORS}
    manifest = undecided_bundle.manifest.model_copy(update={"operating_points": points})
    bare = replace(undecided_bundle, manifest=manifest)
    with pytest.raises(
        InputError, match=r"dicom-seg cannot be written: the bundle .+ has no operating point"
    ):
        DicomFiles(("dicom-seg",), bare, discover([path]))
    DicomFiles(("dicom-sr", "dicom-pm"), bare, discover([path]))


def test_predict_names_anonymous_frames_apart(run, tmp_path, photograph):
    write(tmp_path / "in" / "study.dcm", dataset(np.stack([photograph, photograph[::-1]]), frames=2))
    for _ in range(2):  # the second time from the journal
        result = run(tmp_path / "in", "--save", "overlays", "--anonymous")
        assert result.exit_code == 0, result.output
        names = sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())
        text = (tmp_path / "out" / "predictions.jsonl").read_text()
        assert sorted(json.loads(line)["image"] + ".jpg" for line in text.splitlines()) == names
        assert len(names) == 2
        assert "study" not in text


def test_predict_says_how_many_images_get_no_dicom_files(run, tmp_path, photograph, write_image):
    write(tmp_path / "in" / "a", dataset(photograph))
    write_image(tmp_path / "in" / "b.png", photograph)
    result = run(tmp_path / "in", "--save", "masks,dicom-sr")
    assert result.exit_code == 0, result.output
    assert "1 of 2 images are not DICOM files and get no dicom-sr" in result.stderr
    assert [path.name for path in (tmp_path / "out" / "dicom-sr").iterdir()] == ["a.dcm"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 10


def test_predict_refuses_dicom_kinds_without_a_dicom_source(run, tmp_path, photograph, write_image):
    write_image(tmp_path / "in" / "b.png", photograph)
    result = run(tmp_path / "in", "--save", "dicom-seg,dicom-sr")
    assert result.exit_code == 1
    assert (
        "dicom-seg, dicom-sr are filed under the study of a DICOM source, and none of the 1" in result.stderr
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"StudyInstanceUID": ""}, "has no StudyInstanceUID, so nothing can be filed under its study"),
        ({"PatientID": "ABC\\123"}, "the DICOM attribute PatientID has several values, and results can have"),
        (
            {"PatientBirthDate": "1970.13.02"},
            "the DICOM attribute PatientBirthDate breaks the standard: correct",
        ),
        ({"StudyTime": "noon"}, "the DICOM attribute StudyTime breaks the standard: correct"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom warns about what is wrong here
def test_predict_keeps_the_numbers_where_the_source_cannot_be_referred_to(
    run, tmp_path, photograph, change, message
):
    write(tmp_path / "in" / "a", dataset(photograph))
    with disable_value_validation():
        write(tmp_path / "in" / "b", dataset(photograph, **change))
    result = run(tmp_path / "in", "--save", "dicom-sr")
    assert result.exit_code == 3, result.output
    assert message in result.stderr
    for value in filter(None, change.values()):
        assert value not in result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok"]
    assert [line["files"] for line in lines] == [["dicom-sr/a.dcm"], []]
    again = run(tmp_path / "in", "--save", "dicom-sr")
    assert again.exit_code == 3, "what could not be written is told again"
    assert message in again.stderr


def test_missing_extra_names_the_command(bundle, photograph, tmp_path, monkeypatch):
    write(tmp_path / "a", dataset(photograph))
    monkeypatch.setitem(sys.modules, "biounet_edge.results.dicom.authorship", None)
    with pytest.raises(
        InputError,
        match=r'dicom-sr cannot be written, .* is not installed: pip install "biounet-edge\[dicom\]"',
    ):
        DicomFiles(["dicom-sr"], bundle, discover([tmp_path]))


def test_kinds_that_are_not_dicom_need_no_dicom_source(bundle):
    dicom = DicomFiles(["masks", "overlays"], bundle, [InputImage(Path("a.jpg"), "a")])
    assert (dicom.kinds, dicom.others, dicom.problems) == ([], 0, {})


def test_full_disk_stops_the_run(bundle, predictor, photograph, tmp_path):
    write(tmp_path / "in" / "a", dataset(photograph))
    (image,) = discover([tmp_path / "in"])
    (tmp_path / "dicom-sr").write_text("in the way")
    dicom = DicomFiles(["dicom-sr"], bundle, [image])
    with pytest.raises(OutputError, match=r"a.dcm cannot be written"):
        dicom.write(tmp_path, image, predictor.predict(image.source))


@pytest.mark.parametrize("frame", [None, 2])
def test_result_is_not_filed_under_a_file_that_took_the_place_of_its_source(
    bundle, predictor, photograph, tmp_path, frame
):
    pixels = photograph if frame is None else np.stack([photograph] * 2)
    path = write(tmp_path / "a", dataset(pixels, frames=frame or 1))
    image = InputImage(path, "a", frame)
    prediction = predictor.predict(image.source)
    write(path, dataset(255 - pixels, frames=frame or 1, PatientID="4712"))
    dicom = DicomFiles(["dicom-sr"], bundle, [image])
    assert dicom.write(tmp_path, image, prediction) == []
    assert dicom.problems == {"a": f"{image.source}: the file changed after it was read: start again"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "its DICOM files do not fit into the memory that is free now"),
        (
            ValueError("Eva Müller"),
            r"its results cannot be written as DICOM \(ValueError\): correct its attributes",
        ),
    ],
)
def test_what_cannot_be_written_says_why_without_a_value(
    bundle, predictor, photograph, tmp_path, monkeypatch, error, message
):
    def fail(*_):
        raise error

    path = write(tmp_path / "a", dataset(photograph))
    monkeypatch.setattr("biounet_edge.results.dicom.files._encode", fail)
    dicom = DicomFiles(["dicom-sr"], bundle, [InputImage(path, "a")])
    assert dicom.write(tmp_path, InputImage(path, "a"), predictor.predict(path)) == []
    assert re.match(f"{re.escape(str(path))}: {message}", dicom.problems["a"])
    assert "Eva" not in dicom.problems["a"]


def test_photographs_that_arrive_one_by_one_share_a_series(bundle, photograph, tmp_path):
    study = dataset(photograph)
    options = RunOptions(("dicom-sr",), batch_size=1)
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        run = watch_folder(
            predictor, tmp_path / "in", tmp_path / "out", options, Event(), settle_s=0.01, interval_s=0.01
        )
        for name in ("a", "b"):
            study.SOPInstanceUID = study.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            write(tmp_path / "in" / name, study)
            assert next(run).outcome.source == str(tmp_path / "in" / name)
        run.close()
    first, second = (dcmread(tmp_path / "out" / "dicom-sr" / f"{name}.dcm") for name in ("a", "b"))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("classify", ("dicom-sr",)),
        ("cam", ("dicom-sr", "dicom-sc", "dicom-pm")),
        ("full", DICOM_KINDS),
    ],
)
def test_levels_have_the_dicom_kinds_that_they_compute(level, kinds):
    assert parse_save(",".join(kinds), level) == kinds
    for kind in set(DICOM_KINDS) - set(kinds):
        with pytest.raises(InputError, match=f"level {level} computes no {kind}"):
            parse_save(kind, level)


def test_continued_run_keeps_frames_and_their_dicom_files(run, tmp_path, photograph):
    frames = np.stack([photograph, photograph[::-1], photograph[:, ::-1]])
    path = write(tmp_path / "in" / "study.dcm", dataset(frames, frames=3))
    assert run(tmp_path / "in", "--save", "dicom-sr", "--level", "classify").exit_code == 0
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    result = run(tmp_path / "in", "--save", "dicom-sr", "--level", "classify")
    assert "kept 3 results of an earlier run" in result.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")} == written
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"{path}#{number}" for number in (1, 2, 3)]
    assert len({line["sha256"] for line in lines}) == 3


def test_image_whose_dicom_files_could_not_be_written_is_tried_again(run, tmp_path, photograph, monkeypatch):
    write(tmp_path / "in" / "a", dataset(photograph))

    def broken(*_):
        raise ValueError("bad attribute")

    with monkeypatch.context() as patch:
        patch.setattr("biounet_edge.results.dicom.files._encode", broken)
        first = run(tmp_path / "in", "--save", "dicom-sr", "--level", "classify")
    second = run(tmp_path / "in", "--save", "dicom-sr", "--level", "classify")
    assert (first.exit_code, second.exit_code) == (3, 0), second.output
    assert (tmp_path / "out" / "dicom-sr" / "a.dcm").is_file()


def test_anonymous_run_reads_dicom_and_writes_none(run, tmp_path, photograph):
    write(tmp_path / "in" / "Mustermann", dataset(photograph))
    refused = run(tmp_path / "in", "--anonymous", "--save", "dicom-sr")
    assert refused.exit_code == 1
    assert "error: dicom-sr carry the name of the patient from their source: leave them out" in refused.stderr
    result = run(tmp_path / "in", "--anonymous", "--save", "none")
    assert result.exit_code == 0, result.output
    assert "Mustermann" not in result.output + (tmp_path / "out" / "predictions.jsonl").read_text()


def test_link_in_the_output_folder_does_not_lead_dicom_files_out_of_it(run, tmp_path, photograph):
    write(tmp_path / "in" / "a", dataset(photograph))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dicom-sr").symlink_to(tmp_path / "elsewhere")
    result = run(tmp_path / "in", "--save", "dicom-sr", "--level", "classify")
    assert result.exit_code == 1
    assert "dicom-sr leads out of the output folder" in result.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
