"""Calibration: probabilities that mean what they say, from validation images alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from biounet_edge.evaluation.probabilities import known
from train.network import IndicatorNetwork

RANGE: Final = (0.05, 20.0)
"""Temperatures that are considered."""


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid((logit - shift) / temperature)."""

    temperature: float = 1.0
    shift: float = 0.0
    """Log-odds: what training drew rare findings too often by."""


def fit_calibration(truth: ArrayLike, logit: ArrayLike) -> Calibration:
    """The calibration with the smallest cross entropy.

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        logit: Log-odds, shape (N).

    Returns:
        Its temperature in RANGE; the identity where only one class is there, which cannot be calibrated by.

    Source:
        Platt, Probabilistic Outputs for Support Vector Machines, 1999, with his smoothed labels, so that
        separable labels do not drive the probabilities to 0 and 1
    """
    labels, logits = known(truth, logit)
    positives, count = int(labels.sum()), len(labels)
    if not positives or positives == count:
        return Calibration()
    smoothed = np.where(labels, (positives + 1) / (positives + 2), 1 / (count - positives + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        z = (logits - parameters[1]) / math.exp(parameters[0])
        return float(np.mean(np.logaddexp(0, z) - smoothed * z))

    low, high = map(math.log, RANGE)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(low, high), (None, None)])
    return Calibration(math.exp(float(found.x[0])), float(found.x[1]))


@torch.no_grad()
def fold_calibrations(network: IndicatorNetwork, calibrations: Mapping[str, Calibration]) -> None:
    """Calibrate a network's logits in the weights of its classification head.

    Grad-CAM does not notice: a heatmap divided by its maximum is the same for any positive multiple of the
    logit, and a shift has no gradient.
    """
    head = network.classification_head
    own = [calibrations.get(task, Calibration()) for task in network.tasks]
    divisors = torch.tensor([of.temperature for of in own]).to(head.weight)
    head.weight.div_(divisors[:, None])
    head.bias.sub_(torch.tensor([of.shift for of in own]).to(head.bias)).div_(divisors)
