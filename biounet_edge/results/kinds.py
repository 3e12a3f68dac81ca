"""Kinds of files that a run writes besides its tables, and which of them a level computes."""

from typing import Literal, get_args

from biounet_edge.bundle.manifest import Level
from biounet_edge.errors import InputError

Save = Literal[
    "masks", "overlays", "heatmaps", "probabilities", "report",
    "dicom-seg", "dicom-sr", "dicom-sc", "dicom-pm",
]  # fmt: skip
"""Kinds of files besides the tables. The report is one page for a whole run."""

KINDS: tuple[Save, ...] = get_args(Save)
"""All of them, in their usual order; most are names of subfolders too."""

DICOM_KINDS: tuple[Save, ...] = ("dicom-seg", "dicom-sr", "dicom-sc", "dicom-pm")
"""Kinds that are written for DICOM sources only."""

_DEFAULTS: dict[Level, tuple[Save, ...]] = {
    "classify": (),
    "cam": ("overlays",),
    "full": ("masks", "overlays"),
}
_AVAILABLE: dict[Level, tuple[Save, ...]] = {
    "classify": ("report", "dicom-sr"),
    "cam": ("overlays", "heatmaps", "report", "dicom-sr", "dicom-sc", "dicom-pm"),
    "full": KINDS,
}


def parse_save(text: str | None, level: Level) -> tuple[Save, ...]:
    """Parse the list of file kinds to write.

    Args:
        text: Kinds separated by commas, "none", or None for the default of the level.
        level: How much is computed.

    Returns:
        The kinds, each once, in their usual order.

    Raises:
        InputError: If a kind does not exist, or the level does not compute it.
    """
    if text is None:
        return _DEFAULTS[level]
    names = {name.strip() for name in text.split(",")} - {"", "none"}
    if unknown := sorted(names - set(KINDS)):
        raise InputError(f"{', '.join(unknown)} cannot be saved: choose from {', '.join(KINDS)}, none")
    if missing := sorted(names - set(_AVAILABLE[level])):
        raise InputError(
            f"level {level} computes no {', '.join(missing)}: choose a higher level or save less"
        )
    return tuple(kind for kind in KINDS if kind in names)
