import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

from pydicom.uid import UID
from typer.testing import CliRunner

from biounet_edge import Category, InputError, PredictionFailure
from biounet_edge.cli.main import app
from biounet_edge.photographs.decoding import opened_photograph
from biounet_edge.photographs.dicom.content import frames_of
from biounet_edge.photographs.dicom.signature import Frame, is_dicom_file
from biounet_edge.photographs.discovery import discover

from ...dicom_files import content, dataset, write

DICOMDIR = UID("1.2.840.10008.1.3.10")


def several(photograph: np.ndarray, frames: int = 3) -> np.ndarray:
    return np.stack([np.roll(photograph, 9 * i, axis=1) for i in range(frames)])


def test_folder_gives_dicom_photographs_whatever_their_names(tmp_path, photograph):
    for name in ("a.dcm", "IM000001", "1.2.840.5", "sub/b.DCM", "notes.txt"):
        write(tmp_path / name, dataset(photograph))
    (tmp_path / "README").write_text("no image")
    (tmp_path / "short").write_bytes(b"DICM")
    assert [image.stem for image in discover([tmp_path])] == ["1.2.840.5", "IM000001", "a", "notes", "sub/b"]


def test_folder_leaves_out_dicom_files_that_hold_no_photograph(tmp_path, photograph):
    write(tmp_path / "a", dataset(photograph))
    write(tmp_path / "own", dataset(photograph, ManufacturerModelName="biounet-edge"))
    directory = dataset(photograph, SOPClassUID=DICOMDIR)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(directory, keyword)
    write(tmp_path / "DICOMDIR", directory)
    assert [image.stem for image in discover([tmp_path])] == ["a"]
    assert [image.stem for image in discover([tmp_path / "DICOMDIR"])] == ["DICOMDIR"]
    (tmp_path / "a").unlink()
    with pytest.raises(
        InputError, match=r"holds no images: expected files ending in .* or DICOM photographs"
    ):
        discover([tmp_path])


def test_damaged_dicom_file_is_found_so_that_it_is_reported(tmp_path, photograph):
    (tmp_path / "cut").write_bytes(content(dataset(photograph))[:400])
    assert [image.stem for image in discover([tmp_path])] == ["cut"]


def test_file_with_the_ending_of_dicom_is_found_whatever_it_is(tmp_path, predictor):
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nothing")
    (tmp_path / "headless.DICOM").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    (tmp_path / "short.dic").write_bytes(b"\0" * 100)
    images = discover([tmp_path])
    assert [image.stem for image in images] == ["empty", "gone", "headless", "short"]
    for outcome in predictor.stream(image.source for image in images):
        assert isinstance(outcome, PredictionFailure), outcome


def test_each_frame_is_an_image_with_a_name_of_its_own(tmp_path, photograph):
    path = write(tmp_path / "study.dcm", dataset(several(photograph), frames=3))
    write(tmp_path / "1.2.3", dataset(several(photograph, 2), frames=2))
    images = discover([tmp_path])
    stems = ["1.2.3_0001", "1.2.3_0002", "study_0001", "study_0002", "study_0003"]
    assert [image.stem for image in images] == stems
    assert [image.frame for image in images] == [1, 2, 1, 2, 3]
    assert images[2].source == Frame(path, 1)
    assert str(images[2].source) == f"{path}#1"


def test_frames_never_share_a_name_with_another_image(tmp_path, photograph):
    write(tmp_path / "a.dcm", dataset(several(photograph), frames=3))
    write(tmp_path / "a_0001.dcm", dataset(photograph))
    (tmp_path / "a_0002.png").touch()
    stems = [image.stem for image in discover([tmp_path])]
    assert len(set(stems)) == len(stems) == 5


def test_frames_of_a_file_that_is_no_dicom_is_the_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert list(frames_of(tmp_path / "a.jpg")) == [tmp_path / "a.jpg"]
    assert list(frames_of(tmp_path / "gone")) == [tmp_path / "gone"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_dicom_file(tmp_path / "pipe")


def test_header_that_claims_too_many_frames_is_one_image(tmp_path, photograph):
    path = write(tmp_path / "a", dataset(photograph, NumberOfFrames=2**31 - 1))
    assert list(frames_of(path)) == [path]


def test_predict_reads_dicom_frames_and_reports_damaged_files(tmp_path, photograph, bundle):
    folder = tmp_path / "in"
    write(folder / "IM1", dataset(photograph))
    write(folder / "study.dcm", dataset(several(photograph, 2), frames=2))
    (folder / "cut").write_bytes(content(dataset(photograph))[:-9])
    arguments = [
        "predict",
        folder,
        "--output",
        tmp_path / "out",
        "--bundle",
        bundle.folder,
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 3, result.output
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert sorted(rows) == ["IM1", "cut", "study.dcm#1", "study.dcm#2"]
    assert "the DICOM file is truncated: its pixels need 32,400 bytes" in rows["cut"]["error"]
    assert {rows[name]["status"] for name in ("IM1", "study.dcm#1", "study.dcm#2")} == {"ok"}
    assert (tmp_path / "out" / "masks" / "study_0002_attribute_streaks.png").is_file()


def test_frame_of_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path, photograph, predictor, monkeypatch
):
    frames = several(photograph, 2)
    path = write(tmp_path / "a", dataset(frames, frames=2))

    def replace(*arguments):
        write(path, dataset(255 - frames, frames=2))
        return opened_photograph(*arguments)

    monkeypatch.setattr("biounet_edge.photographs.source.opened_photograph", replace)
    (outcome,) = predictor.stream([Frame(path, 1)])
    assert outcome == PredictionFailure(
        f"{path}#1",
        "the file changed while it was read: wait until it is complete and start again",
        category=Category.RETRY,
    )


def test_example_of_the_documentation_runs(tmp_path, photograph, bundle, monkeypatch):
    monkeypatch.setattr("biounet_edge.bundle.folder.default_bundle", lambda: bundle.folder)
    text = (Path(__file__).parents[4] / "docs" / "dicom.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    write(tmp_path / "IM000001", dataset(photograph))
    write(tmp_path / "study.dcm", dataset(several(photograph), frames=3))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["outcome"].source == "study.dcm#3"


def test_predictor_reads_frames_of_dicom(tmp_path, photograph, predictor):
    frames = several(photograph, 2)
    path = write(tmp_path / "a", dataset(frames, frames=2))
    outcomes = list(predictor.stream(frames_of(path)))
    for frame, outcome in zip(frames, outcomes, strict=True):
        expected = predictor.predict(frame)
        assert outcome.melanoma_probability == pytest.approx(expected.melanoma_probability, abs=1e-6)
    assert [outcome.source for outcome in outcomes] == [f"{path}#1", f"{path}#2"]
