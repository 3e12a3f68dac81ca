"""What a result takes from its DICOM source: whose study it is, and which image or frame it is about."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biounet_edge.dicom.header import open_header
from biounet_edge.errors import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# All that is copied. Patient and study: PS3.3, C.7.1.1 and C.7.2.1, what an archive files an object by and
# whether the patient was de-identified. Image: what a reference and a derived image need.
_EMPTY_IF_MISSING = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_PATIENT_AND_STUDY = (
    "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "StudyDescription",
)  # fmt: skip
_IMAGE = (
    "Modality", "Rows", "Columns",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True, eq=False)
class SourceImage:
    """The image, or the one frame of an image, that a result is about."""

    dataset: "Dataset" = field(repr=False)
    """The attributes that may be copied, and no others. It poses as a single-frame image, also where it
    stands for one frame of several: that is all that one result is about."""
    sop_class: str
    """UID of the source's own kind of object."""
    frame: int | None
    """Frame number from 1 where the file holds several; None else."""
    instance_number: int
    """Number for the results: the frame's, or the image's own; at least 1."""

    def complete(self, result: Any) -> None:
        """Adds what highdicom's constructors leave out of an object about this source.

        Attributes of the patient and the study; and, where the object refers to the source, the source's own
        kind and the frame.

        Args:
            result: A dataset; changed in place.
        """
        for keyword in _PATIENT_AND_STUDY:
            if keyword in self.dataset and keyword not in result:
                result[keyword] = deepcopy(self.dataset[keyword])
        datasets = _datasets(result)
        for dataset in datasets:
            if dataset.get("ReferencedSOPInstanceUID") == self.dataset.SOPInstanceUID:
                dataset.ReferencedSOPClassUID = self.sop_class
        for dataset in datasets if self.frame is not None else ():
            if "SourceImageSequence" in dataset:  # its items may also stand where no frame is allowed
                dataset.SourceImageSequence = [self._with_frame(item) for item in dataset.SourceImageSequence]

    def _with_frame(self, reference: Any) -> Any:
        reference = deepcopy(reference)
        reference.ReferencedFrameNumber = self.frame
        return reference


def read_source(path: Path, frame: int | None) -> SourceImage:
    """Reads what results need of their source.

    Args:
        path: A DICOM photograph.
        frame: Frame number from 1; None for the only frame.

    Returns:
        The source, without anything that results must not hold.

    Raises:
        ImageError: If the file cannot be read, or lacks an identifier that results must refer to.
    """
    from pydicom.dataset import Dataset

    try:
        with path.open("rb") as file:
            source = open_header(file).dataset
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
    if missing := [keyword for keyword in _REQUIRED if not source.get(keyword)]:
        raise ImageError(
            f"the DICOM file has no {', '.join(missing)}, so nothing can be filed under its study: "
            "correct the file, or leave out the dicom kinds of --save"
        )
    view = Dataset()
    for keyword in (*_REQUIRED, *_PATIENT_AND_STUDY, *_IMAGE):
        if keyword in source:
            view[keyword] = deepcopy(source[keyword])
    for keyword in _EMPTY_IF_MISSING:
        setattr(view, keyword, str(source.get(keyword) or ""))
    view.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, which holds the source's names and any notice
    view.SOPClassUID = _SINGLE_FRAME
    if view.PatientSex not in ("M", "F", "O"):
        view.PatientSex = ""
    number = frame or int(source.get("InstanceNumber") or 1)
    return SourceImage(view, str(source.SOPClassUID), frame, max(1, number))


def _datasets(dataset: Any) -> list[Any]:
    """Lists a dataset and all that are nested in it."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _datasets(item)
    return found
