"""`biounet-edge predict` on a folder as an archive exports it: no endings, five transfer syntaxes."""

import shutil
import subprocess

import cv2
import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

import highdicom
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from typer.testing import CliRunner

from biounet_edge import INDICATORS
from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.cli.main import app

from ...dicom_files import as_jpeg, dataset, encoded, jpeg, write

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, JPEG2000Lossless, RLELossless,
)  # fmt: skip
KINDS = ("dicom-seg", "dicom-sr", "dicom-sc")


@pytest.fixture(scope="module")
def marking(bundle, change_bundle):
    """A bundle in which every indicator is present, with a mask of about half of the first golden image."""
    middle = np.median(bundle.golden().outputs["mask_probability"][0], axis=(1, 2))  # (J)
    points = zip(INDICATORS, middle.tolist(), strict=True)
    return change_bundle(
        operating_points={name: OperatingPoint(presence=0, mask=value) for name, value in points}
    )


@pytest.fixture(scope="module")
def output(bundle, marking, tmp_path_factory):
    """The output folder of one run over a file of each syntax."""
    folder = tmp_path_factory.mktemp("archive")
    for number, syntax in enumerate(SYNTAXES):
        lesion = np.roll(bundle.golden().image[0], 3 * number, axis=1)
        made = dataset(lesion)
        made = as_jpeg(made, [jpeg(lesion)]) if syntax == JPEGBaseline8Bit else encoded(made, syntax)
        write(folder / "in" / f"IM{number}", made)
    result = CliRunner().invoke(
        app,
        ["predict", str(folder / "in"), "--output", str(folder / "out"), "--bundle", str(marking.folder),
         "--device", "cpu", "--save", ",".join(("masks", *KINDS))],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "out"


@pytest.mark.parametrize("number", range(len(SYNTAXES)))
def test_masks_are_the_same_in_dicom_and_beside_it(output, number):
    segmentation = highdicom.seg.segread(output / "dicom-seg" / f"IM{number}.dcm")
    ((_, _, instance),) = segmentation.get_source_image_uids()
    pixels = segmentation.get_pixels_by_source_instance([instance])  # (1, H0, W0, J)
    masks = [
        cv2.imread(str(output / "masks" / f"IM{number}_attribute_{name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        for name in INDICATORS
    ]
    np.testing.assert_array_equal(pixels[0].astype(bool), np.stack(masks, axis=-1))
    assert any(0 < mask.mean() < 1 for mask in masks)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(output, kind):
    files = sorted((output / kind).iterdir())
    assert len(files) == len(SYNTAXES)
    for file in files:
        result = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, timeout=60)
        lines = (result.stdout + result.stderr).splitlines()
        assert len(lines) > 0
        assert [line for line in lines if line.startswith("Error")] == []
