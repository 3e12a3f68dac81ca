"""A prediction's masks as a DICOM Segmentation: one object, one segment per indicator."""

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from biounet_edge.prediction import Prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.codes import ABNORMAL_STRUCTURE, INDICATOR_CODES, SKIN, label
from biounet_edge.results.dicom.source import SourceImage
from biounet_edge.results.overlay import COLOURS


def make_segmentation(source: SourceImage, prediction: Prediction, author: Authorship) -> Dataset:
    """Make a binary Segmentation of the photograph's size.

    Every indicator with an operating point is a segment with a frame, also where it is absent and its mask is
    empty: segment numbers then mean the same in every object of a bundle.

    Args:
        source: The photograph.
        prediction: A prediction of level full.
        author: The model and the run.

    Returns:
        The object, ready to be saved.
    """
    decided = [name for name, finding in prediction.indicators.items() if finding.present is not None]
    assert decided, "DicomFiles rejects a bundle without any operating point"
    masks = np.stack([_mask(prediction, name) for name in decided], axis=-1)  # (H0, W0, segments)
    algorithm = author.algorithm()
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=label(name),
            segmented_property_category=ABNORMAL_STRUCTURE,
            segmented_property_type=INDICATOR_CODES[name],
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            anatomic_regions=[SKIN],
            display_color=CIELabColor.from_rgb(*COLOURS[name]),
        )
        for number, name in enumerate(decided, 1)
    ]
    result = Segmentation(
        source_images=[source.dataset],
        pixel_array=masks[np.newaxis],  # (1, H0, W0, segments)
        segmentation_type="BINARY",
        segment_descriptions=segments,
        omit_empty_frames=False,
        content_label="INDICATORS",
        content_description=author.description("dicom-seg"),
        **author.series("dicom-seg", source),
    )
    result.PatientOrientation = None  # unknown
    result.ImageComments = author.remark(prediction.warning)
    source.complete(result)
    return result


def _mask(prediction: Prediction, name: str) -> NDArray[np.bool_]:
    mask = prediction.indicators[name].mask
    assert mask is not None, "the command asks for masks at level full only"
    return mask
