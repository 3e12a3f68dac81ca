"""What the paper published, transcribed from its Tables 1 to 7.

Figures stand as printed, zeros that it drops added ("0.5" is 0.50). Where the paper contradicts itself, the
printed figure stays and the reading of docs/paper.md stands beside it.

Source: "Explainable Diagnosis of Melanoma Based on Localization of Clinical Indicators and Self-Supervised
Learning" (Bio-U-Net), Tables 1 to 7.
"""

from typing import Final

COLUMNS: Final = ("globules", "milia_like_cyst", "negative_network", "pigment_network", "streaks")
"""Indicators in the order of the paper's columns, which is not that of INDICATORS."""

Figures = dict[str, float]
"""An indicator to its continuous Dice, percent."""


def _figures(*values: float) -> Figures:
    return dict(zip(COLUMNS, values, strict=True))


IMAGES: Final = 2594
"""Images of Dataset A (section 5.1)."""

TABLE_1: Final[dict[str, tuple[int, int]]] = {
    "globules": (603, 1991),
    "milia_like_cyst": (682, 1912),
    "negative_network": (190, 2404),
    "pigment_network": (1523, 881),
    "streaks": (100, 2494),
}
"""Images with and without each indicator."""

TABLE_1_CORRECTED: Final = {"pigment_network": (1523, 1071)}
"""Rows of Table 1 that do not sum to IMAGES, read so that they do: 1523 + 881 is 2404."""

TABLE_2: Final[dict[tuple[str, str], Figures]] = {
    ("f_res", "grad_cam"): _figures(14.21, 0.00, 15.78, 41.03, 5.16),
    ("f_res", "grad_cam_plus_plus"): _figures(7.95, 0.67, 13.67, 26.85, 3.50),
    ("f_res", "layer_cam"): _figures(14.53, 0.00, 15.89, 40.67, 5.83),
    ("f_res", "lime"): _figures(3.36, 1.65, 4.00, 13.26, 2.00),
    ("vat", "grad_cam"): _figures(2.05, 0.76, 2.33, 19.36, 1.50),
    ("bio_u_net", "grad_cam"): _figures(15.16, 2.33, 20.89, 32.79, 14.17),
}
"""Row and method to figures. Maps were cut at 0.6 by the text; Bio-U-Net's line equals Table 6 at 0.0."""

TABLE_3: Final[dict[str, Figures]] = {
    "f_res": _figures(14.21, 0.00, 15.78, 41.03, 5.16),
    "without_f_clr": _figures(15.21, 0.50, 17.78, 39.58, 3.83),
    "without_f_seg": _figures(15.11, 1.00, 17.44, 39.53, 12.67),
    "bio_u_net": _figures(15.16, 2.33, 20.89, 32.79, 14.17),
}

TABLE_4: Final[dict[str, Figures]] = {
    "f_res": _figures(14.21, 0.00, 15.78, 41.03, 5.16),
    "bio_u_net": _figures(15.16, 2.33, 20.89, 32.79, 14.17),
    "repeat_2": _figures(14.89, 2.67, 21.22, 37.92, 15.50),
    "repeat_3": _figures(14.84, 0.16, 16.33, 39.01, 12.83),
    "repeat_4": _figures(13.68, 1.00, 19.00, 43.19, 7.93),
    "repeat_5": _figures(13.26, 1.83, 16.89, 38.04, 11.50),
}

TABLE_5: Final[dict[str, Figures]] = {
    "f_res": _figures(14.21, 0.00, 15.78, 41.03, 5.16),
    "bio_u_net": _figures(15.16, 2.33, 20.89, 32.79, 14.17),
    "two_tasks": _figures(14.16, 1.16, 20.22, 37.88, 14.33),
    "five_tasks": _figures(15.89, 0.50, 19.44, 15.64, 10.67),
    "six_tasks": _figures(14.68, 1.50, 19.33, 23.21, 11.83),
}

MELANOMA: Final = {
    "f_res": 0.76,
    "without_f_clr": 0.76,
    "without_f_seg": 0.80,
    "bio_u_net": 0.82,
    "repeat_2": 0.80,
    "repeat_3": 0.82,
    "repeat_4": 0.81,
    "repeat_5": 0.80,
    "two_tasks": 0.84,
    "five_tasks": 0.82,
    "six_tasks": 0.83,
}
"""The column "Mel" of Tables 3 to 5: accuracy by section 5.2 (76 %, 82 %), AUC by section 5.3 (84 %)."""

THRESHOLDS: Final = ("0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")

MASK_THRESHOLD: Final = "0.6"
"""The threshold that the text says the experiments used (section 5.3)."""

TABLE_6: Final[dict[str, tuple[float, ...]]] = {
    "globules": (15.16, 15.21, 14.78, 15.31, 14.05, 13.78, 15.26, 15.63, 14.73, 17.00),
    "milia_like_cyst": (2.33, 2.29, 4.29, 1.01, 0.06, 3.85, 3.84, 3.79, 2.67, 4.19),
    "negative_network": (20.89, 21.22, 16.00, 23.44, 14.11, 18.22, 22.22, 20.66, 15.88, 18.44),
    "pigment_network": (32.79, 38.26, 33.97, 31.17, 33.28, 38.67, 32.47, 34.73, 35.95, 32.78),
    "streaks": (14.17, 14.33, 12.16, 13.83, 13.00, 14.33, 18.66, 14.50, 15.16, 13.33),
}
"""Bio-U-Net's continuous Dice at each of THRESHOLDS, percent."""

TABLE_7: Final = {"f_clr": 43.2, "f_res": 129.5, "f_seg": 469.3, "total": 642.0}
"""Billion FLOPs. 43.2 is one ResNet-50 forward at 512 x 512, and 129.5 three times that: a training step."""
