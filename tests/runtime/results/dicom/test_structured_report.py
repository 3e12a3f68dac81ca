import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom

from biounet_edge import INDICATORS
from biounet_edge.prediction import make_prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.codes import INDICATOR_CODES
from biounet_edge.results.dicom.source import read_source
from biounet_edge.results.dicom.structured_report import make_structured_report as make_report

from ...dicom_files import dataset, write


def test_report_says_probability_only_without_an_operating_point(undecided):
    groups = highdicom.sr.srread(undecided["sr"]).content.get_image_measurement_groups()
    (streaks,) = (group for group in groups if group.finding_type.value == "STREAKS")
    values = {item.name.value: item.value for item in streaks.get_measurements()}
    assert values == {"INDICATOR_PROBABILITY": pytest.approx(70), "CONTRIBUTION": pytest.approx(0.25)}
    evaluations = {item.name.value: item.value.value for item in streaks.get_qualitative_evaluations()}
    assert evaluations["REPORTED_AS"] == "PROBABILITY_ONLY"
    assert "INDICATOR_PRESENCE" not in evaluations


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
