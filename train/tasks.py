"""What the encoders learn to tell: the five indicators and the diagnosis, by name."""

from collections.abc import Iterable
from typing import Final

from biounet_edge.indicators import INDICATORS

MELANOMA: Final = "melanoma"
"""Name of the diagnosis among the tasks of a classification head."""

TASKS: Final = (*INDICATORS, MELANOMA)
"""Order of the label columns."""

ONE_ENCODER_EACH: Final = tuple((indicator, MELANOMA) for indicator in INDICATORS)
"""The tasks of Bio-U-Net's five encoders: each predicts its own indicator and melanoma."""


def indicators_of(tasks: Iterable[str]) -> tuple[str, ...]:
    """The tasks that have masks, in their order: all but the diagnosis."""
    return tuple(task for task in tasks if task != MELANOMA)


def encoder_name(tasks: Iterable[str]) -> str:
    """Name of an encoder in checkpoints and stages: its indicator, or all its indicators."""
    return "+".join(indicators_of(tasks))
