import sys

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

from biounet_edge.dicom.content import Frame

from .files import dataset, write


@pytest.mark.parametrize("trouble", ["library", "memory", "disk"])
@pytest.mark.parametrize("frames", [1, 2])
def test_trouble_of_the_machine_is_not_the_contents(
    predictor, photograph, tmp_path, monkeypatch, trouble, frames
):
    pixels = photograph if frames == 1 else np.stack([photograph] * frames)
    path = write(tmp_path / "a.dcm", dataset(pixels, frames=frames))

    def fail(*_, **__):
        raise MemoryError if trouble == "memory" else OSError(5, "Input/output error")

    if trouble == "library":
        monkeypatch.setitem(sys.modules, "pydicom", None)
    else:
        monkeypatch.setattr("biounet_edge.dicom.reading._decode", fail)
    (outcome,) = predictor.stream([path if frames == 1 else Frame(path, 1)])
    assert {"library": "is not installed", "memory": "memory", "disk": "Input/output"}[
        trouble
    ] in outcome.error
    assert outcome.sha256 is None
