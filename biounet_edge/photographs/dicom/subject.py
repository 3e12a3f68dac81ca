"""Whether a DICOM object can be a photograph of skin, by what its header says.

A study holds more than photographs, and an X-ray that was saved as a picture has the pixels of a picture.
What a header says is believed in one direction only: it can rule a photograph out, and where it says nothing,
the pixels decide.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PRODUCT = "biounet-edge"
"""ManufacturerModelName of every object that is written here."""

PRIVATE_SCHEME = "99BIOUNET"
"""Coding scheme of the objects that are written here."""

# PS3.6, table A-1: SOP classes that photographs of skin are stored as
_PHOTOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
    "1.2.840.10008.5.1.4.1.1.77.1.1": "VL Endoscopic Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
}
# PS3.3, C.7.3.1.1.1: dermoscopy, external-camera photography, endoscopy (as some dermoscopes write), other
_MODALITIES = ("DMS", "XC", "ES", "OT")
# PS3.3, C.8.6.1: scanned document, drawing, synthetic image
_NO_CAMERA = ("SD", "DRW", "SYN")
_LOSSY_COMPRESSION = ("113040", "DCM")  # PS3.16, CID 7203
# Defined terms of PS3.16, annex L for what lies inside of the body, with their SNOMED CT codes. Bones and
# regions are not among them: a photograph of the skin over a rib may say RIB.
_INSIDE = {
    "ADRENAL": "23451007", "AORTA": "15825003", "BLADDER": "89837001", "BRAIN": "12738006",
    "BRONCHUS": "955009", "CEREBELLUM": "113305005", "CERVIX": "71252005", "COLON": "71854001",
    "CORNEA": "28726007", "CORONARYARTERY": "41801008", "DUODENUM": "38848004", "ESOPHAGUS": "32849002",
    "EYE": "81745001", "GALLBLADDER": "28231008", "HEART": "80891009", "ILEUM": "34516001",
    "JEJUNUM": "21306003", "KIDNEY": "64033007", "LARYNX": "4596009", "LIVER": "10200004",
    "LUNG": "39607008", "MEDIASTINUM": "72410000", "OVARY": "15497006", "PANCREAS": "15776009",
    "PHARYNX": "54066008", "PROSTATE": "41216001", "RECTUM": "34402009", "RETINA": "5665001",
    "SCLERA": "18619003", "SPLEEN": "78961009", "STOMACH": "69695003", "TESTIS": "40689003",
    "THYMUS": "9875009", "THYROID": "69748006", "TRACHEA": "44567001", "URETER": "87953007",
    "URETHRA": "13648007", "UTERUS": "35039007",
}  # fmt: skip

_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")  # PS3.5, section 6.2: VR CS


@dataclass(frozen=True, slots=True)
class Objection:
    """What in a header says that the object is no photograph of skin."""

    name: str
    """Name of the attribute."""
    tag: str
    """Its tag, such as "(0008,0060)"."""
    value: str
    """Its value, as far as that is a code: a text may be anything, a patient's name too."""
    expected: str
    """What it would be in a photograph of skin."""

    @property
    def short(self) -> str:
        """Attribute and value: "Modality CR"."""
        return f"{self.name} {self.value}"

    @property
    def sentence(self) -> str:
        """The reason for people."""
        return (
            f"the DICOM object is no photograph of skin: {self.name} {self.tag} is {self.value}, expected "
            f"{self.expected}"
        )


def objection_to(dataset: "Dataset", sop_class: str, kind: str) -> Objection | None:
    """Find what says that an object is no photograph of skin.

    Args:
        dataset: Everything before the pixels.
        sop_class: UID of the kind of object.
        kind: The kind of object in words, or its UID.

    Returns:
        The first that is found, or None.
    """
    if sop_class not in _PHOTOGRAPHS:
        return Objection("SOP Class UID", "(0008,0016)", kind, ", ".join(_PHOTOGRAPHS.values()))
    modality = _code(dataset, "Modality")
    if modality not in ("", *_MODALITIES):
        return Objection("Modality", "(0008,0060)", modality, ", ".join(_MODALITIES))
    if _is_derived(dataset):
        value = "\\".join(_codes(dataset, "ImageType")[:2])
        return Objection("Image Type", "(0008,0008)", value, "ORIGINAL")
    conversion = _code(dataset, "ConversionType")
    if conversion in _NO_CAMERA:
        return Objection("Conversion Type", "(0008,0064)", conversion, f"none of {', '.join(_NO_CAMERA)}")
    if _code(dataset, "BurnedInAnnotation") == "YES":
        return Objection("Burned In Annotation", "(0028,0301)", "YES", "NO")
    part = _code(dataset, "BodyPartExamined")
    if part in _INSIDE:
        return Objection("Body Part Examined", "(0018,0015)", part, "a region of the skin")
    region = _region_inside(dataset.get("AnatomicRegionSequence") or ())
    if region is not None:
        return Objection("Anatomic Region Sequence", "(0008,2218)", region, "a region of the skin")
    return None


def is_own_result(dataset: "Dataset") -> bool:
    """Return whether this program wrote an object, here or elsewhere.

    An archive or a viewer that passes it on may put its own name in place of the manufacturer's.

    Args:
        dataset: Everything before the pixels.

    Returns:
        True for an overlay, a mask, a map or a report.
    """
    equipment = [dataset, *(dataset.get("ContributingEquipmentSequence") or ())]
    if any(
        _text(item, name) == PRODUCT
        for item in equipment
        for name in ("Manufacturer", "ManufacturerModelName")
    ):
        return True
    schemes = dataset.get("CodingSchemeIdentificationSequence") or ()
    if any(_text(item, "CodingSchemeDesignator") == PRIVATE_SCHEME for item in schemes):
        return True
    comments = _text(dataset, "ImageComments")  # as results.dicom.authorship writes them
    return PRODUCT in comments and "bundle SHA-256" in comments


def _is_derived(dataset: "Dataset") -> bool:
    """Whether other pixels were made of an image's; what compression alone changed is the photograph still.

    PS3.3, C.7.6.1.1.2, which calls an image derived that was compressed with loss later on.
    """
    if _codes(dataset, "ImageType")[:1] != ["DERIVED"]:
        return False
    how = [
        (_text(item, "CodeValue"), _text(item, "CodingSchemeDesignator"))
        for item in dataset.get("DerivationCodeSequence") or ()
    ]
    return not how or any(code != _LOSSY_COMPRESSION for code in how)


def _region_inside(regions: Iterable[Any]) -> str | None:
    """Return the term of the first region that lies inside of the body."""
    from pydicom.sr.coding import Code

    for region in regions:
        code = Code(_text(region, "CodeValue"), _text(region, "CodingSchemeDesignator"), "")
        for term, value in _INSIDE.items():
            if code == Code(value, "SCT", ""):  # codes of the older scheme SRT are equal to these
                return term
    return None


def _codes(dataset: "Dataset", keyword: str) -> list[str]:
    """Read an attribute of coded values; what is no code is not repeated."""
    value = dataset.get(keyword)
    values = [value] if isinstance(value, str) else list(value or ())
    texts = [str(text).strip().upper() for text in values]
    return [text if _CODE.fullmatch(text) else "no code" for text in texts if text]


def _code(dataset: "Dataset", keyword: str) -> str:
    return next(iter(_codes(dataset, keyword)), "")


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
