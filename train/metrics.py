"""Figures that judge a model."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score, roc_curve


def continuous_dice(truth: NDArray[np.bool_], prediction: NDArray[np.floating]) -> float:
    """Continuous Dice coefficient (cDC) of one mask.

    Args:
        truth: Binary expert mask, shape (H, W), bool.
        prediction: Mask probability, shape (H, W), float in [0, 1].

    Returns:
        cDC in [0, 1]; 1 where both are empty.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Shamir et al., Continuous Dice Coefficient, 2019, equation 5, arXiv:1906.11031
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"expected a prediction of shape {truth.shape}, got {prediction.shape}; resize one of them"
        )
    overlap = float(prediction[truth].sum(dtype=np.float64))
    support = int((prediction[truth] > 0).sum())
    c = overlap / support if support else 1.0
    total = c * int(truth.sum()) + float(prediction.sum(dtype=np.float64))
    return 2 * overlap / total if total else 1.0


def auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve over the labels that are not NaN; NaN where only one class is there."""
    labels, scores = np.asarray(truth, dtype=float), np.asarray(score, dtype=float)
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) < 2:
        return float("nan")
    return float(roc_auc_score(labels[known], scores[known]))


def youden_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """The score that maximises sensitivity + specificity - 1; 0.5 where only one class is there.

    Source: Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3
    """
    labels, scores = np.asarray(truth, dtype=float), np.asarray(score, dtype=float)
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) < 2:
        return 0.5
    false_positive, true_positive, thresholds = roc_curve(
        labels[known], scores[known], drop_intermediate=False
    )
    # roc_curve begins with an infinite threshold, at which nothing is called positive.
    best = 1 + int(np.argmax(true_positive[1:] - false_positive[1:]))
    return float(thresholds[best])
