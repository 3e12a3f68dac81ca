"""What all objects have in common: valid, of the source's study, and of the patient only what they must."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from pydicom import dcmread
from pydicom.dataset import Dataset

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import decode
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.capture import make_capture
from biounet_edge.results.dicom.source import read_source
from biounet_edge.results.dicom.structured_report import make_structured_report as make_report

from ...dicom_files import as_jpeg, dataset, jpeg, write
from .objects import LOSSY, MAKERS, PATIENT_AND_STUDY, SOURCES


def datasets(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from datasets(item)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", SOURCES)
def test_every_object_passes_dciodvfy(written, kind, name):
    result = subprocess.run(
        ["dciodvfy", "-new", str(written[kind, name])], capture_output=True, text=True, timeout=60
    )
    report = result.stdout + result.stderr
    kinds = {"seg": "Segmentation", "sr": "ComprehensiveSR", "sc": "SCImage", "pm": "ParametricMap"}
    assert kinds[name] in report.splitlines()
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", MAKERS)
def test_every_object_without_an_operating_point_passes_dciodvfy(undecided, name):
    result = subprocess.run(
        ["dciodvfy", "-new", str(undecided[name])], capture_output=True, text=True, timeout=60
    )
    report = result.stdout + result.stderr
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", ["single", "frame"])
def test_objects_join_the_study_and_name_model_and_notice(written, kind, name, bundle):
    source, result = dcmread(written[kind, "source"]), dcmread(written[kind, name])
    for keyword in ("StudyInstanceUID", *PATIENT_AND_STUDY):
        assert result[keyword].value == source[keyword].value, keyword
    assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert result.ManufacturerModelName == "biounet-edge"
    assert result.DeviceSerialNumber == bundle.checksum
    assert result.SoftwareVersions[1] == f"{bundle.manifest.name} {bundle.manifest.version}"
    assert result.SeriesDescription.startswith("Not for clinical use: ")
    text = str(result.to_json())
    assert bundle.checksum in text
    assert bundle.manifest.notice in text


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", ["single", "frame", "dermoscopic"])
def test_objects_refer_to_the_image_and_the_frame(written, kind, name):
    source, result = dcmread(written[kind, "source"]), dcmread(written[kind, name])
    references = [item for item in datasets(result) if "ReferencedSOPInstanceUID" in item]
    assert references
    assert {item.ReferencedSOPInstanceUID for item in references} == {source.SOPInstanceUID}
    assert {item.ReferencedSOPClassUID for item in references} == {source.SOPClassUID}
    frames = {int(item.ReferencedFrameNumber) for item in references if "ReferencedFrameNumber" in item}
    assert frames == ({2} if kind == "frame" else set())


@pytest.mark.parametrize("name", MAKERS)
def test_objects_say_whether_the_patient_was_deidentified(name, bundle, prediction, photograph, tmp_path):
    told = {
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "by hand",
        "IssuerOfPatientID": "clinic",
        "StudyDescription": "follow-up",
    }
    source = read_source(write(tmp_path / "a", dataset(photograph, **told)), None)
    result = MAKERS[name](source, prediction, Authorship.of(bundle))
    assert {keyword: result[keyword].value for keyword in told} == told


@pytest.mark.parametrize("name", MAKERS)
def test_objects_copy_of_a_deidentification_method_its_code_alone(
    name, bundle, prediction, photograph, tmp_path
):
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning, method.PatientComments = "Basic profile", "private"
    made = dataset(photograph, DeidentificationMethodCodeSequence=[method])
    source = read_source(write(tmp_path / "a", made), None)
    result = MAKERS[name](source, prediction, Authorship.of(bundle))
    (copied,) = result.DeidentificationMethodCodeSequence
    del method.PatientComments
    assert copied == method


@pytest.mark.parametrize("name", ["seg", "sc", "pm"])
def test_objects_of_a_jpeg_say_that_it_was_compressed_with_loss(written, name, photograph):
    declared, found = dcmread(written["jpeg", name]), dcmread(written["undeclared", name])
    assert [declared[keyword].value for keyword in LOSSY] == ["01", 10, "ISO_10918_1"]
    assert [found[keyword].value for keyword in (LOSSY[0], LOSSY[2])] == ["01", "ISO_10918_1"]
    ratio = photograph.nbytes / len(jpeg(photograph))
    assert found.LossyImageCompressionRatio == pytest.approx(ratio, rel=0.02)  # of the whole element
    assert dcmread(written["single", name]).get("LossyImageCompression", "00") == "00"


@pytest.mark.parametrize(
    ("character_set", "name"),
    [("ISO_IR 100", "Müller^Eva"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう")],
)
def test_objects_hold_names_of_any_character_set(
    character_set, name, bundle, prediction, photograph, tmp_path
):
    made = dataset(photograph, SpecificCharacterSet=character_set, PatientName=name)
    source = read_source(write(tmp_path / "a", made), None)
    author = Authorship("modèle", "1", "0" * 64, "Pas pour la clinique : démonstration.", "1.2.3")
    for kind, make in MAKERS.items():
        make(source, prediction, author).save_as(tmp_path / kind, enforce_file_format=True)
        result = dcmread(tmp_path / kind)
        assert result.PatientName == name
        assert author.notice in str(result.to_json_dict())


@pytest.mark.parametrize("name", MAKERS)
def test_objects_copy_nothing_else_of_the_source(written, name):
    text = str(dcmread(written["single", name]).to_json())
    for private in ("Clinic", "Street 1", "private"):
        assert private not in text


@pytest.mark.parametrize("name", MAKERS)
def test_objects_without_a_notice_do_not_speak_of_clinical_use(
    name, bundle, prediction, photograph, tmp_path
):
    source = read_source(write(tmp_path / "a", dataset(photograph)), None)
    author = Authorship("model", "1", "0" * 64, None, "1.2.3")
    MAKERS[name](source, prediction, author).save_as(tmp_path / "b", enforce_file_format=True)
    assert "clinical" not in str(dcmread(tmp_path / "b").to_json())


def test_objects_of_one_run_share_a_series_per_kind(bundle, prediction, photograph, tmp_path):
    made = dataset(photograph)
    source = read_source(write(tmp_path / "a", made), None)
    author, later = Authorship.of(bundle), Authorship.of(bundle)
    first, second = (make_report(source, prediction, author) for _ in range(2))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert make_report(source, prediction, later).SeriesInstanceUID != first.SeriesInstanceUID
    assert make_capture(source, prediction, author).SeriesInstanceUID != first.SeriesInstanceUID


@pytest.mark.parametrize("name", ["seg", "sc", "pm"])
def test_results_are_no_photographs(written, name):
    with pytest.raises(ImageError, match="is a result that biounet-edge wrote, and no photograph"):
        decode(written["single", name])


def test_source_without_identifiers_says_which_are_missing(photograph, tmp_path):
    made = dataset(photograph)
    del made.StudyInstanceUID
    path = write(tmp_path / "a", made)
    with pytest.raises(ImageError, match=r"has no StudyInstanceUID, so nothing can be filed under its study"):
        read_source(path, None)


@pytest.mark.filterwarnings("ignore")  # what pydicom warns about in such values
@pytest.mark.parametrize(
    ("written_as", "time"), [("93612", "093612"), ("09:36:12", "093612"), ("093612.5", "093612.5")]
)
def test_study_time_is_written_as_the_standard_has_it(written_as, time, photograph, tmp_path):
    path = write(tmp_path / "a", dataset(photograph, StudyTime=written_as))
    assert read_source(path, None).dataset.StudyTime == time


def test_empty_ratio_of_compression_is_computed(photograph, tmp_path):
    made = as_jpeg(dataset(photograph), [jpeg(photograph)])
    made.LossyImageCompressionRatio = None
    ratio = read_source(write(tmp_path / "a", made), None).dataset.LossyImageCompressionRatio
    assert ratio == pytest.approx(photograph.nbytes / len(jpeg(photograph)), rel=0.02)
