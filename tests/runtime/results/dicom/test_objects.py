"""What is written for DICOM sources: valid, the same masks to the pixel, of the patient only what it must."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from biounet_edge import INDICATORS, ImageError, InputError
from biounet_edge.bundle.manifest import Manifest, OperatingPoint
from biounet_edge.photographs.decoding import decode
from biounet_edge.prediction import Prediction, make_prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.capture import make_capture
from biounet_edge.results.dicom.codes import INDICATOR_CODES, SCHEME
from biounet_edge.results.dicom.heatmaps import LARGEST, make_heatmaps
from biounet_edge.results.dicom.segmentation import make_segmentation
from biounet_edge.results.dicom.source import read_source
from biounet_edge.results.dicom.structured_report import make_structured_report as make_report
from biounet_edge.results.overlay import draw_overlay

from ...dicom_files import DERMOSCOPIC, as_jpeg, dataset, encoded, jpeg, write

MAKERS = {"seg": make_segmentation, "sr": make_report, "sc": make_capture, "pm": make_heatmaps}
PATIENT_AND_STUDY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
SOURCES = ("single", "dermoscopic", "frame", "jpeg", "undeclared", "jpeg2000", "bare")
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def predict(manifest: Manifest, photograph: np.ndarray) -> Prediction:
    """Two indicators present, with masks that overlap; the others absent."""
    mask = np.full((5, 40, 40), 0.02, np.float32)
    mask[0, :20, :20] = mask[2, 10:33, 5:30] = 0.98
    outputs = {
        "melanoma_probability": np.float32(0.75),
        "melanoma_contribution": np.linspace(-1, 1.5, 5, dtype=np.float32),
        "indicator_probability": np.array([0.9, 0, 0.7, 0, 0], np.float32),
        "heatmap": mask[:, ::4, ::4] / mask.max(),
        "heatmap_scale": np.full(5, 2.5, np.float32),
        "mask_probability": mask,
    }
    return make_prediction(manifest, "full", outputs, "a", photograph.shape[:2], photograph)


@pytest.fixture(scope="module")
def prediction(bundle, photograph) -> Prediction:
    return predict(bundle.manifest, photograph)


@pytest.fixture(scope="module")
def undecided(undecided_bundle, photograph, tmp_path_factory) -> dict[str, Path]:
    """Every object of a prediction in which streaks have no operating point, as a file."""
    folder = tmp_path_factory.mktemp("undecided")
    source = read_source(write(folder / "source", dataset(photograph)), None)
    author = Authorship.of(undecided_bundle)
    for name, make in MAKERS.items():
        made = make(source, predict(undecided_bundle.manifest, photograph), author)
        made.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return {name: folder / f"{name}.dcm" for name in MAKERS}


def source_file(kind: str, photograph: np.ndarray, path: Path) -> tuple[Path, int | None]:
    if kind == "frame":
        return write(path, dataset(np.stack([photograph] * 3), frames=3)), 2
    made = dataset(photograph)
    if kind == "dermoscopic":
        made = dataset(photograph, SOPClassUID=DERMOSCOPIC, FrameOfReferenceUID="1.2.3", Modality="DMS")
    elif kind in ("jpeg", "undeclared"):
        made = as_jpeg(made, [jpeg(photograph)])
        for keyword in LOSSY if kind == "undeclared" else ():
            delattr(made, keyword)
    elif kind == "jpeg2000":
        made = encoded(made, JPEG2000Lossless)
    elif kind == "bare":
        for keyword in (*PATIENT_AND_STUDY, "InstanceNumber", "SpecificCharacterSet", "Modality"):
            delattr(made, keyword)
    return write(path, made), None


@pytest.fixture(scope="module")
def written(bundle, prediction, photograph, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Every object for every source, as a file."""
    folder = tmp_path_factory.mktemp("objects")
    author = Authorship.of(bundle)
    paths = {}
    for kind in SOURCES:
        path, frame = source_file(kind, photograph, folder / kind)
        paths[kind, "source"] = path
        source = read_source(path, frame)
        for name, make in MAKERS.items():
            paths[kind, name] = folder / f"{kind}-{name}.dcm"
            make(source, prediction, author).save_as(paths[kind, name], enforce_file_format=True)
    return paths


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
    result = subprocess.run(["dciodvfy", "-new", str(written[kind, name])], capture_output=True, text=True)
    report = result.stdout + result.stderr
    kinds = {"seg": "Segmentation", "sr": "ComprehensiveSR", "sc": "SCImage", "pm": "ParametricMap"}
    assert kinds[name] in report.splitlines()
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("kind", SOURCES)
def test_segments_are_the_masks_to_the_pixel(written, kind, prediction):
    segmentation = highdicom.seg.segread(written[kind, "seg"])
    pixels = dcmread(written[kind, "seg"]).pixel_array  # (J, H0, W0)
    (_, _, instance), *others = segmentation.get_source_image_uids()
    assert others == []
    if kind == "frame":
        by_source = segmentation.get_pixels_by_source_frame(instance, [2])
    else:
        by_source = segmentation.get_pixels_by_source_instance([instance])  # (1, H0, W0, J)
    for number, name in enumerate(INDICATORS):
        mask = prediction.indicators[name].mask
        np.testing.assert_array_equal(pixels[number], mask)
        np.testing.assert_array_equal(by_source[0, ..., number], mask)
    assert pixels[0].any()
    assert not pixels[1].any()


def test_segments_have_codes_colours_and_the_algorithm(written, bundle):
    segmentation = highdicom.seg.segread(written["single", "seg"])
    assert [segment.segmented_property_type.value for segment in segmentation.SegmentSequence] == [
        INDICATOR_CODES[name].value for name in INDICATORS
    ]
    for segment in segmentation.SegmentSequence:
        assert segment.segmented_property_category.scheme_designator == "SCT"
        assert segment.segmented_property_type.scheme_designator == SCHEME
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == f"biounet-edge {bundle.manifest.name}"
        assert algorithm.AlgorithmVersion == bundle.manifest.version
        assert bundle.checksum in algorithm.AlgorithmParameters
        assert bundle.manifest.notice in algorithm.AlgorithmParameters


@pytest.mark.parametrize("kind", ["single", "frame"])
def test_heatmaps_come_back_from_the_map(written, kind, prediction):
    image = highdicom.imread(written[kind, "pm"])
    stored = dcmread(written[kind, "pm"]).pixel_array  # (J, H0, W0)
    heatmaps = image.get_frames(apply_real_world_transform=True)
    for number, name in enumerate(INDICATORS):
        expected = prediction.indicators[name].heatmap
        assert np.abs(stored[number] / LARGEST - expected).max() <= 0.5 / LARGEST + 1e-6
        assert np.abs(heatmaps[number] - expected).max() <= 0.5 / LARGEST + 1e-6
    labels = [frame.FrameContentSequence[0].FrameLabel for frame in image.PerFrameFunctionalGroupsSequence]
    assert labels == [INDICATOR_CODES[name].value for name in INDICATORS]


def test_heatmaps_say_which_indicators_are_present(written):
    frames = dcmread(written["single", "pm"]).PerFrameFunctionalGroupsSequence
    words = [frame.RealWorldValueMappingSequence[0].LUTExplanation for frame in frames]
    assert words == [
        "Pigment network, present 90%, Grad-CAM over maximum 2.5",
        "Negative network, absent 0%, Grad-CAM over maximum 2.5",
        "Streaks, present 70%, Grad-CAM over maximum 2.5",
        "Milia-like cyst, absent 0%, Grad-CAM over maximum 2.5",
        "Globules, absent 0%, Grad-CAM over maximum 2.5",
    ]


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.5, "Negative network, present 100%, Grad-CAM over maximum 1.235e-12"),
        (None, "Negative network, probability only 100%, Grad-CAM over 1.235e-12"),
    ],
)
def test_longest_explanation_of_a_heatmap_is_whole(undecided_bundle, photograph, tmp_path, threshold, words):
    points = {name: OperatingPoint(presence=threshold, mask=0.5) for name in INDICATORS}
    manifest = undecided_bundle.manifest.model_copy(update={"operating_points": points})
    outputs = {
        "melanoma_probability": np.float32(0.5),
        "melanoma_contribution": np.zeros(5, np.float32),
        "indicator_probability": np.ones(5, np.float32),
        "heatmap": np.ones((5, 4, 4), np.float32),
        "heatmap_scale": np.full(5, 1.2345e-12, np.float32),
    }
    prediction = make_prediction(manifest, "cam", outputs, "a", photograph.shape[:2])
    source = read_source(write(tmp_path / "a", dataset(photograph)), None)
    result = make_heatmaps(source, prediction, Authorship.of(undecided_bundle))
    mapping = result.PerFrameFunctionalGroupsSequence[1].RealWorldValueMappingSequence[0]
    assert mapping.LUTExplanation == words


def test_segmentation_leaves_out_an_indicator_without_an_operating_point(undecided, written, prediction):
    segmentation = highdicom.seg.segread(undecided["seg"])
    names = [name for name in INDICATORS if name != "streaks"]
    assert [segment.segmented_property_type.value for segment in segmentation.SegmentSequence] == [
        INDICATOR_CODES[name].value for name in names
    ]
    assert [int(segment.SegmentNumber) for segment in segmentation.SegmentSequence] == [1, 2, 3, 4]
    pixels = dcmread(undecided["seg"]).pixel_array
    for stored, name in zip(pixels, names, strict=True):
        np.testing.assert_array_equal(stored, prediction.indicators[name].mask)


def test_report_says_probability_only_without_an_operating_point(undecided):
    groups = highdicom.sr.srread(undecided["sr"]).content.get_image_measurement_groups()
    (streaks,) = (group for group in groups if group.finding_type.value == "STREAKS")
    values = {item.name.value: item.value for item in streaks.get_measurements()}
    assert values == {"INDICATOR_PROBABILITY": pytest.approx(70), "CONTRIBUTION": pytest.approx(0.25)}
    evaluations = {item.name.value: item.value.value for item in streaks.get_qualitative_evaluations()}
    assert evaluations["REPORTED_AS"] == "PROBABILITY_ONLY"
    assert "INDICATOR_PRESENCE" not in evaluations


def test_heatmap_says_probability_only_without_an_operating_point(undecided):
    frames = dcmread(undecided["pm"]).PerFrameFunctionalGroupsSequence
    words = [frame.RealWorldValueMappingSequence[0].LUTExplanation for frame in frames]
    assert words[2] == "Streaks, probability only 70%, Grad-CAM over 2.5"
    assert words[0] == "Pigment network, present 90%, Grad-CAM over maximum 2.5"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", MAKERS)
def test_every_object_without_an_operating_point_passes_dciodvfy(undecided, name):
    result = subprocess.run(["dciodvfy", "-new", str(undecided[name])], capture_output=True, text=True)
    report = result.stdout + result.stderr
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("kind", ["single", "frame"])
def test_capture_is_the_overlay_to_the_pixel(written, kind, prediction, bundle):
    overlay = draw_overlay(prediction, prediction.preview, bundle.manifest.notice)
    capture = dcmread(written[kind, "sc"])
    np.testing.assert_array_equal(capture.pixel_array, overlay)
    assert capture.BurnedInAnnotation == "YES"


def test_report_holds_every_number(written, prediction):
    report = highdicom.sr.srread(written["single", "sr"])
    melanoma, *groups = report.content.get_image_measurement_groups()
    values = {item.name.value: item.value for item in melanoma.get_measurements()}
    assert values["111047"] == pytest.approx(75)
    assert values["BIAS"] == pytest.approx(prediction.melanoma_bias, rel=1e-5)
    assert values["TEMPERATURE"] == pytest.approx(prediction.melanoma_temperature, rel=1e-5)
    assert [group.finding_type.value for group in groups] == [INDICATOR_CODES[n].value for n in INDICATORS]
    for group, finding in zip(groups, prediction.indicators.values(), strict=True):
        values = {item.name.value: item.value for item in group.get_measurements()}
        assert values["INDICATOR_PROBABILITY"] == pytest.approx(100 * finding.probability, rel=1e-5)
        assert values["CONTRIBUTION"] == pytest.approx(finding.contribution, rel=1e-5)
        assert values["AREA_FRACTION"] == pytest.approx(finding.area_pct, rel=1e-5)
        evaluations = {item.name.value: item.value.meaning for item in group.get_qualitative_evaluations()}
        assert evaluations["INDICATOR_PRESENCE"] == ("Present" if finding.present else "Absent")


def test_report_without_masks_has_no_areas(bundle, prediction, photograph, tmp_path):
    outputs = {
        "melanoma_probability": np.float32(0.1),
        "melanoma_contribution": np.zeros(5, np.float32),
        "indicator_probability": np.zeros(5, np.float32),
    }
    plain = make_prediction(bundle.manifest, "classify", outputs, "a", photograph.shape[:2])
    source = read_source(write(tmp_path / "a", dataset(photograph)), None)
    assert "AREA_FRACTION" not in str(make_report(source, plain, Authorship.of(bundle)))


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


def test_capture_without_a_photograph_says_what_is_missing(bundle, predictor, photograph, tmp_path):
    source = read_source(write(tmp_path / "a", dataset(photograph)), None)
    with pytest.raises(InputError, match="an overlay needs the photograph: predict with preview_px above 0"):
        make_capture(source, predictor.predict(photograph), Authorship.of(bundle))
