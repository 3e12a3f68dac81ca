"""What the tests of DICOM results share: sources of every kind, a prediction, and what makes each object."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from pydicom.uid import JPEG2000Lossless

from biounet_edge.bundle.manifest import Manifest
from biounet_edge.prediction import Prediction, make_prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.capture import make_capture
from biounet_edge.results.dicom.heatmaps import make_heatmaps
from biounet_edge.results.dicom.segmentation import make_segmentation
from biounet_edge.results.dicom.source import read_source
from biounet_edge.results.dicom.structured_report import make_structured_report as make_report

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


def write_objects(
    kind: str, photograph: np.ndarray, prediction: Prediction, author: Authorship, folder: Path
) -> dict[str, Path]:
    """A source of some kind and every object about it, as files."""
    path, frame = source_file(kind, photograph, folder / kind)
    source, paths = read_source(path, frame), {"source": path}
    for name, make in MAKERS.items():
        paths[name] = folder / f"{kind}-{name}.dcm"
        make(source, prediction, author).save_as(paths[name], enforce_file_format=True)
    return paths
