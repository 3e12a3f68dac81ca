"""What a result takes from its DICOM source: whose study it is, and which image or frame it is about."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biounet_edge.errors import ImageError
from biounet_edge.photographs.dicom.header import open_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# All that is copied. Patient and study: PS3.3, C.7.1.1 and C.7.2.1, what an archive files an object by and
# whether the patient was de-identified. Image: what a reference and a derived image need.
_EMPTY_IF_MISSING = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_METHODS = "DeidentificationMethodCodeSequence"
_PATIENT_AND_STUDY = (
    "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod", _METHODS, "StudyDescription",
)  # fmt: skip
_CODE = (
    "CodeValue", "LongCodeValue", "URNCodeValue",
    "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
)  # fmt: skip
_IMAGE = (
    "Modality", "Rows", "Columns",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
# LossyImageCompressionMethod (PS3.3, C.7.6.1.1.5.1) of the transfer syntaxes that are lossy or may be.
_LOSSY = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
_WAY_OUT = "correct the file, or leave out the dicom kinds of --save"
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
        """Add what highdicom's constructors leave out of an object about this source.

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
    """Read what results need of their source.

    Args:
        path: A DICOM photograph.
        frame: Frame number from 1; None for the only frame.

    Returns:
        The source, without anything that results must not hold.

    Raises:
        ImageError: If the file cannot be read, lacks an identifier that results must refer to, or has an
            attribute that breaks the standard; no message holds a value.
    """
    try:
        with path.open("rb") as file:
            header = open_header(file)
            start = file.tell()
            pixel_bytes = file.seek(0, 2) - start
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
    source = header.dataset
    if missing := [keyword for keyword in _REQUIRED if not source.get(keyword)]:
        raise ImageError(
            f"the DICOM file has no {', '.join(missing)}, so nothing can be filed under its study: {_WAY_OUT}"
        )
    view = _view(source)
    declared = view.get("LossyImageCompression")
    incomplete = not declared or (declared == "01" and not view.get("LossyImageCompressionRatio"))
    if incomplete and header.transfer_syntax in _LOSSY:
        samples = header.frames * header.height * header.width * header.samples
        view.LossyImageCompression = "01"
        view.LossyImageCompressionRatio = f"{samples * header.bits_allocated / 8 / max(1, pixel_bytes):.4g}"
        view.LossyImageCompressionMethod = _LOSSY[header.transfer_syntax]
    number = frame or int(_single(source, "InstanceNumber") or 1)
    return SourceImage(view, str(source.SOPClassUID), frame, max(1, number))


def _view(source: "Dataset") -> "Dataset":
    """Copy what may be copied."""
    from pydicom.dataset import Dataset

    view = Dataset()
    for keyword in _REQUIRED:
        setattr(view, keyword, _single(source, keyword))
    for keyword in _EMPTY_IF_MISSING:
        setattr(view, keyword, str(_single(source, keyword) or ""))
    for keyword in (*_PATIENT_AND_STUDY, *_IMAGE):
        with _naming(keyword):
            if keyword in source:
                view[keyword] = deepcopy(source[keyword])
    with _naming(_METHODS):
        if _METHODS in view:
            view[_METHODS].value = [_code(item) for item in view[_METHODS].value]
    view.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, which holds the source's names and any notice
    view.SOPClassUID = _SINGLE_FRAME
    if view.PatientSex not in ("M", "F", "O"):
        view.PatientSex = ""
    return view


def _single(source: "Dataset", keyword: str) -> Any:
    """Read an attribute of one value, and a date or time as strictly as highdicom does."""
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import DA, TM

    with _naming(keyword):
        value = source.get(keyword)
        if keyword in source and source[keyword].VM > 1:
            raise ImageError(
                f"the DICOM attribute {keyword} has several values, and results can have only one: {_WAY_OUT}"
            )
        representation = dictionary_VR(keyword)
        if representation == "TM" and value:
            value = _time(str(value))
        kind = {"DA": DA, "TM": TM}.get(representation)
        if kind is not None and value:
            kind(str(value))
    return value


def _time(text: str) -> str:
    """Write a time as the standard has it: some have the colons of ACR-NEMA, and some lack the first zero."""
    digits, point, fraction = text.strip().replace(":", "").partition(".")
    return ("0" * (len(digits) == 5) + digits + point + fraction).rstrip(".")


@contextmanager
def _naming(keyword: str) -> Iterator[None]:
    """Name the attribute that cannot be read; what is raised there may hold its value."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"the DICOM attribute {keyword} breaks the standard: {_WAY_OUT}") from error


def _code(item: "Dataset") -> "Dataset":
    """Keep only the attributes that make up a code."""
    from pydicom.dataset import Dataset

    code = Dataset()
    for keyword in _CODE:
        if keyword in item:
            code[keyword] = item[keyword]
    return code


def _datasets(dataset: Any) -> list[Any]:
    """List a dataset and all that are nested in it."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _datasets(item)
    return found
