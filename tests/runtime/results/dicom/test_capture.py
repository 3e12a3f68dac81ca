import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from pydicom import dcmread

from biounet_edge import InputError
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.capture import make_capture
from biounet_edge.results.dicom.source import read_source
from biounet_edge.results.overlay import draw_overlay

from ...dicom_files import dataset, write


@pytest.mark.parametrize("kind", ["single", "frame"])
def test_capture_is_the_overlay_to_the_pixel(written, kind, prediction, bundle):
    overlay = draw_overlay(prediction, prediction.preview, bundle.manifest.notice)
    capture = dcmread(written[kind, "sc"])
    np.testing.assert_array_equal(capture.pixel_array, overlay)
    assert capture.BurnedInAnnotation == "YES"


def test_capture_without_a_photograph_says_what_is_missing(bundle, predictor, photograph, tmp_path):
    source = read_source(write(tmp_path / "a", dataset(photograph)), None)
    with pytest.raises(InputError, match="an overlay needs the photograph: predict with preview_px above 0"):
        make_capture(source, predictor.predict(photograph), Authorship.of(bundle))
