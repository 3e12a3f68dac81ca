"""The diagnosis, and whether each indicator is there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from biounet_edge.evaluation.bootstrap import Draws, Interval, measure
from biounet_edge.evaluation.decisions import Decisions, judge_decisions
from biounet_edge.evaluation.probabilities import auc, average_precision, calibration_error
from biounet_edge.indicators import INDICATORS
from train.data.held_out import groups_of
from train.scoring.predictions import Predictions
from train.tasks import MELANOMA

FEWEST: Final = 10
"""Melanomas, and other lesions, that a subgroup needs to be judged."""


@dataclass(frozen=True)
class DiagnosisFigures:
    """The diagnosis of one group of images."""

    group: str
    images: int
    melanomas: int
    auc: Interval | None
    """None where only one class is there, as with average_precision."""
    average_precision: Interval | None
    calibration_error: Interval | None
    decisions: Decisions
    """At the bundle's operating point."""


@dataclass(frozen=True)
class PresenceFigures:
    """Whether one indicator is there."""

    indicator: str
    images: int
    positives: int
    auc: Interval | None
    """None where only one class is there."""
    decisions: Decisions | None
    """At the bundle's operating point; None where it has none."""


def score_diagnosis(predictions: Predictions, draws: Draws) -> Iterator[DiagnosisFigures]:
    """Judge the diagnosis of all images, and of each subgroup that is large enough."""
    truth, probability = predictions.labels(MELANOMA), predictions.column("melanoma_probability")
    called = predictions.column("melanoma")
    for group, members in groups_of(predictions.records):
        labels, scores, decisions = truth[members], probability[members], called[members]
        there = ~np.isnan(labels)
        melanomas = int((labels == 1).sum())
        small = min(melanomas, int(there.sum()) - melanomas) < FEWEST
        if not there.any() or (small and ":" in group):
            continue
        yield DiagnosisFigures(
            group,
            int(there.sum()),
            melanomas,
            _measure(auc, labels[there], scores[there], draws),
            _measure(average_precision, labels[there], scores[there], draws),
            _measure(calibration_error, labels[there], scores[there], draws),
            judge_decisions(labels, decisions),
        )


def score_presence(predictions: Predictions, draws: Draws) -> Iterator[PresenceFigures]:
    """Judge whether each indicator is there, over the images whose label is known."""
    for indicator in INDICATORS:
        labels = predictions.labels(indicator)
        there = ~np.isnan(labels)
        if not there.any():
            continue
        probability = predictions.column(f"{indicator}_probability")
        present = predictions.column(f"{indicator}_present")
        yield PresenceFigures(
            indicator,
            int(there.sum()),
            int((labels == 1).sum()),
            _measure(auc, labels[there], probability[there], draws),
            None if np.isnan(present).all() else judge_decisions(labels, present),
        )


def _measure(
    figure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    labels: NDArray[np.float64],
    scores: NDArray[np.float64],
    draws: Draws,
) -> Interval | None:
    return measure(
        lambda drawn: figure(labels[drawn], scores[drawn]), len(labels), draws.seed, draws.resamples
    )
