import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom
from pydicom import dcmread

from biounet_edge import INDICATORS
from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.prediction import make_prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.codes import INDICATOR_CODES
from biounet_edge.results.dicom.heatmaps import LARGEST, make_heatmaps
from biounet_edge.results.dicom.source import read_source

from ...dicom_files import dataset, write


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


def test_heatmap_says_probability_only_without_an_operating_point(undecided):
    frames = dcmread(undecided["pm"]).PerFrameFunctionalGroupsSequence
    words = [frame.RealWorldValueMappingSequence[0].LUTExplanation for frame in frames]
    assert words[2] == "Streaks, probability only 70%, Grad-CAM over 2.5"
    assert words[0] == "Pigment network, present 90%, Grad-CAM over maximum 2.5"
