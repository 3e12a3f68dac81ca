import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom
from pydicom import dcmread

from biounet_edge import INDICATORS
from biounet_edge.results.dicom.codes import INDICATOR_CODES, SCHEME

from .objects import SOURCES


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
