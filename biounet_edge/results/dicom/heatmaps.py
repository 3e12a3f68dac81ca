"""A prediction's heatmaps as a DICOM Parametric Map: one object, one frame per indicator."""

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, generate_uid

from biounet_edge.prediction import IndicatorFinding, Prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.codes import INDICATOR_CODES, NO_UNITS, SALIENCY, label
from biounet_edge.results.dicom.source import SourceImage

LARGEST = 65535
"""Stored value of the heatmap's maximum; 0 is stored as 0."""


class _LabelledMap(ParametricMap):
    """A map without patient coordinates, whose frames are told apart by their labels.

    highdicom announces the frame label as the dimension of such a map and writes it for one channel only.
    """

    def _build_luts(self) -> None:
        for number, frame in enumerate(self.PerFrameFunctionalGroupsSequence, 1):
            content = frame.FrameContentSequence[0]
            content.FrameLabel = frame.RealWorldValueMappingSequence[0].LUTLabel
            content.DimensionIndexValues = [number]
        super()._build_luts()


def make_heatmaps(source: SourceImage, prediction: Prediction, author: Authorship) -> Dataset:
    """Make a Parametric Map of the photograph's size, 16 bits a pixel.

    Args:
        source: The photograph.
        prediction: A prediction of level cam or full.
        author: The model and the run.

    Returns:
        The object, ready to be saved.
    """
    heatmaps = np.stack(
        [_stored(finding) for finding in prediction.indicators.values()], axis=-1
    )  # (H0, W0, J)
    result: Dataset = _LabelledMap(
        source_images=[source.dataset],
        pixel_array=heatmaps[np.newaxis],  # (1, H0, W0, J)
        image_flavor="STATIC",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            [_mapping(name, finding, prediction.unfamiliar)]
            for name, finding in prediction.indicators.items()
        ],
        voi_lut_transformations=[VOILUTTransformation(window_center=32768, window_width=65536)],
        transfer_syntax_uid=RLELossless,
        content_label="HEATMAPS",
        content_description=author.description("dicom-pm"),
        **author.series("dicom-pm", source),
    )
    result.PatientOrientation = result.Laterality = None  # unknown
    # The kind of object asks for geometry, which a derived one may leave open: PS3.3, C.7.6.16.2.1 to 4.
    result.FrameOfReferenceUID, result.PositionReferenceIndicator = generate_uid(), None
    shared = result.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PlanePositionSequence = [Dataset()]
    shared.PlaneOrientationSequence = [Dataset()]
    result.ImageComments = author.remark(prediction.warning)
    source.complete(result)
    return result


def _stored(finding: IndicatorFinding) -> NDArray[np.uint16]:
    heatmap = finding.heatmap
    assert heatmap is not None, "the command asks for heatmaps at levels cam and full only"
    return (heatmap * LARGEST + 0.5).astype(np.uint16)


def _mapping(name: str, finding: IndicatorFinding, unfamiliar: bool) -> RealWorldValueMapping:
    state, divisor = "present" if finding.present else "absent", "maximum "
    if finding.present is None:
        state, divisor = "probability only", ""  # the longest text then fills the 64 characters
    words = (
        f"{label(name)}, {state} {finding.probability:.0%}, "
        f"Grad-CAM over {divisor}{finding.heatmap_scale or 0:.4g}"
    )
    if unfamiliar:  # what the divisor was is left out for it
        words = f"UNFAMILIAR photograph, {label(name)}, {state} {finding.probability:.0%}?"
    return RealWorldValueMapping(
        lut_label=INDICATOR_CODES[name].value[:16],  # VR SH
        lut_explanation=words[:64],  # VR LO
        unit=NO_UNITS,
        value_range=(0, LARGEST),
        slope=1 / LARGEST,
        intercept=0,
        quantity_definition=SALIENCY,
    )
