"""Temperatures: probabilities that mean what they say, from validation images alone."""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import log_loss

from train.network import IndicatorNetwork

RANGE: Final = (0.05, 20.0)
"""Temperatures that are considered."""


def fit_temperature(truth: ArrayLike, logit: ArrayLike) -> float:
    """The temperature T with the smallest cross entropy of sigmoid(logit / T).

    Args:
        truth: 0 or 1, NaN where unknown, shape (N).
        logit: Log-odds, shape (N).

    Returns:
        T in RANGE; 1 where only one class is there, which cannot be calibrated by.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2
    """
    labels, logits = np.asarray(truth, dtype=float), np.asarray(logit, dtype=float)
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) < 2:
        return 1.0
    low, high = map(math.log, RANGE)
    found = minimize_scalar(
        lambda t: log_loss(labels[known], expit(logits[known] / math.exp(t)), labels=[0.0, 1.0]),
        bounds=(low, high),
        method="bounded",
    )
    return math.exp(float(found.x))


@torch.no_grad()
def fold_temperatures(network: IndicatorNetwork, temperatures: dict[str, float]) -> None:
    """Divide a network's logits by their temperatures, in the weights of its classification head.

    Grad-CAM does not notice: a heatmap divided by its maximum is the same for any positive multiple of the
    logit.
    """
    head = network.classification_head
    divisors = torch.tensor([temperatures.get(task, 1.0) for task in network.tasks]).to(head.weight)
    head.weight.div_(divisors[:, None])
    head.bias.div_(divisors)
