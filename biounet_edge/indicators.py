"""The five dermoscopic indicators that Bio-U-Net explains a diagnosis with."""

from typing import Final

INDICATORS: Final = (
    "pigment_network",
    "negative_network",
    "streaks",
    "milia_like_cyst",
    "globules",
)
"""Names as ISIC 2018 Task 2 spells them in its mask files; the order of every indicator axis (J = 5).

Source: Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368
"""


def indicator_label(name: str) -> str:
    """Write an indicator's name for people.

    Args:
        name: One of `INDICATORS`.

    Returns:
        Lower-case words, such as "milia-like cyst".
    """
    return name.replace("milia_like", "milia-like").replace("_", " ")
