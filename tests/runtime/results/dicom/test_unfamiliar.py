"""DICOM results of a photograph that the model does not know."""

import csv
import shutil
import subprocess

import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom
from pydicom import dcmread
from typer.testing import CliRunner

from biounet_edge.cli.main import app
from biounet_edge.photographs.dicom.subject import is_own_result

from ...dicom_files import dataset, write

KINDS = "dicom-seg,dicom-sr,dicom-sc,dicom-pm"


@pytest.fixture(scope="session")
def run(judging_bundle, photograph, tmp_path_factory):
    """Predicts a bright and a dark DICOM photograph, with every DICOM kind."""

    def predict(*options: str):
        folder = tmp_path_factory.mktemp("unfamiliar")
        for name, pixels in (("bright", photograph), ("dark", photograph // 4)):
            write(folder / "in" / name, dataset(pixels))
        arguments = ["predict", folder / "in", "-o", folder / "out", "--bundle", judging_bundle.folder]
        result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu", "--save", KINDS, *options])
        assert result.exit_code == 0, result.output
        return folder / "out"

    return predict


@pytest.fixture(scope="session")
def refused(run):
    return run()


@pytest.fixture(scope="session")
def accepted(run):
    return run("--accept-unfamiliar")


def test_unfamiliar_photograph_has_a_report_and_no_other_object(refused):
    assert [path.parent.name for path in refused.rglob("dark.dcm")] == ["dicom-sr"]
    assert len(list(refused.rglob("bright.dcm"))) == 4
    with (refused / "predictions.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok", "unfamiliar"]


def test_report_says_not_assessed_and_why(refused):
    report = highdicom.sr.srread(refused / "dicom-sr" / "dark.dcm")
    (group,) = report.content.get_image_measurement_groups()
    evaluations = {item.name.value: item.value.value for item in group.get_qualitative_evaluations()}
    assert evaluations.items() >= {"ASSESSMENT": "NOT_ASSESSED", "ASSESSMENT_REASON": "UNFAMILIAR"}.items()
    (measured,) = group.get_measurements()
    assert (measured.name.value, measured.value < 100) == ("FAMILIARITY", True)
    assert group.finding_type is None
    assert "Malignant melanoma" not in str(report)


def test_report_of_a_familiar_photograph_has_its_score(refused):
    report = highdicom.sr.srread(refused / "dicom-sr" / "bright.dcm")
    melanoma, *_ = report.content.get_image_measurement_groups()
    assert "FAMILIARITY" in {item.name.value for item in melanoma.get_measurements()}
    assert "CAUTION" not in str(report)


def test_every_group_of_an_accepted_photograph_warns(accepted):
    report = highdicom.sr.srread(accepted / "dicom-sr" / "dark.dcm")
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == 6
    for group in groups:
        evaluations = {item.name.value: item.value.value for item in group.get_qualitative_evaluations()}
        assert evaluations["CAUTION"] == "UNFAMILIAR"


@pytest.mark.parametrize("kind", ["dicom-seg", "dicom-sc", "dicom-pm"])
def test_images_of_an_accepted_photograph_warn(accepted, kind):
    dark, bright = (dcmread(accepted / kind / f"{name}.dcm") for name in ("dark", "bright"))
    assert dark.ImageComments.startswith("The photograph is unlike the photographs")
    assert not bright.ImageComments.startswith("The photograph is unlike")
    assert is_own_result(dark)


def test_labels_of_heatmaps_of_an_accepted_photograph_warn(accepted):
    dark = dcmread(accepted / "dicom-pm" / "dark.dcm")
    for frame in dark.PerFrameFunctionalGroupsSequence:
        (mapping,) = frame.RealWorldValueMappingSequence
        assert mapping.LUTExplanation.startswith("UNFAMILIAR photograph, ")
        assert len(mapping.LUTExplanation) <= 64


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_every_object_about_an_unfamiliar_photograph_passes_dciodvfy(refused, accepted):
    objects = [path for output in (refused, accepted) for path in output.rglob("dark.dcm")]
    assert len(objects) == 5
    for path in objects:
        result = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
        report = result.stdout + result.stderr
        assert [line for line in report.splitlines() if line.startswith("Error")] == [], path
