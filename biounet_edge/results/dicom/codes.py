"""The codes that results are written with; docs/dicom.md lists them.

SNOMED CT and DICOM name the diagnosis, the body and the method. The codes that DICOM publishes name neither
the dermoscopic indicators nor their contributions, so these have codes of a private scheme, whose designator
begins with 99 as PS3.16, section 8.2 asks.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from biounet_edge.indicators import INDICATORS, indicator_label
from biounet_edge.photographs.dicom.subject import PRIVATE_SCHEME

SCHEME = PRIVATE_SCHEME
"""Designator of the private scheme; its codes are the words of this package."""


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


INDICATOR_CODES = {
    "pigment_network": _private("PIGMENT_NETWORK", "Dermoscopic pigment network"),
    "negative_network": _private("NEGATIVE_NETWORK", "Dermoscopic negative network"),
    "streaks": _private("STREAKS", "Dermoscopic streaks"),
    "milia_like_cyst": _private("MILIA_LIKE_CYST", "Dermoscopic milia-like cyst"),
    "globules": _private("GLOBULES", "Dermoscopic globules"),
}
"""What each segment, heatmap and measurement group is about."""

INDICATOR_PROBABILITY = _private("INDICATOR_PROBABILITY", "Probability of the indicator")
CONTRIBUTION = _private("CONTRIBUTION", "Log-odds added to melanoma")
BIAS = _private("BIAS", "Log-odds of melanoma without any indicator")
TEMPERATURE = _private("TEMPERATURE", "Temperature of the melanoma probability")
AREA_FRACTION = _private("AREA_FRACTION", "Part of the photograph covered")
REACHES_OPERATING_POINT = _private("OPERATING_POINT_REACHED", "Probability reaches the operating point")
INDICATOR_PRESENCE = _private("INDICATOR_PRESENCE", "Indicator at its operating point")
REPORTED_AS = _private("REPORTED_AS", "What is reported of the indicator")
PROBABILITY_ONLY = _private("PROBABILITY_ONLY", "Probability only, without operating point")

ASSESSMENT = _private("ASSESSMENT", "Assessment of the photograph")
NOT_ASSESSED = _private("NOT_ASSESSED", "Not assessed")
REASON = _private("ASSESSMENT_REASON", "Why the photograph is not assessed")
CAUTION = _private("CAUTION", "Why these numbers are not to be relied on")
UNFAMILIAR = _private("UNFAMILIAR", "Unlike the photographs that the model was trained on")
FAMILIARITY = _private("FAMILIARITY", "Likeness to the photographs of the training")

MELANOMA: Code = codes.SCT.MalignantMelanoma
PROBABILITY_OF_CANCER: Code = codes.DCM.ProbabilityOfCancer
SALIENCY: Code = codes.DCM.Saliency
ABNORMAL_STRUCTURE: Code = codes.SCT.MorphologicallyAbnormalStructure
SKIN: Code = codes.SCT.Skin
IMAGING_PROCEDURE: Code = codes.SCT.ImagingProcedure
ARTIFICIAL_INTELLIGENCE: Code = codes.DCM.ArtificialIntelligence
DEVICE: Code = codes.DCM.Device
PRESENT: Code = codes.SCT.Present
ABSENT: Code = codes.SCT.Absent
YES: Code = codes.SCT.Yes
NO: Code = codes.SCT.No
PERCENT: Code = codes.UCUM.Percent
NO_UNITS: Code = codes.UCUM.NoUnits


def private_scheme() -> CodingSchemeIdentificationItem:
    """Describe the private scheme, for objects that use it.

    Returns:
        An item of the Coding Scheme Identification Sequence.
    """
    return CodingSchemeIdentificationItem(
        SCHEME, name="biounet-edge dermoscopic indicators", responsible_organization="biounet-edge"
    )


def label(name: str) -> str:
    """Write an indicator's name for people.

    Args:
        name: One of `INDICATORS`.

    Returns:
        Words that begin with a capital.
    """
    return indicator_label(name).capitalize()


assert set(INDICATOR_CODES) == set(INDICATORS)
