"""How well a mask covers an expert's."""

import numpy as np
from numpy.typing import NDArray


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


def dice(truth: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks of one shape (H, W); 1 where both are empty."""
    total = int(truth.sum()) + int(mask.sum())
    return 2 * int((truth & mask).sum()) / total if total else 1.0


def jaccard(truth: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    """Jaccard index of two masks of one shape (H, W); 1 where both are empty."""
    union = int((truth | mask).sum())
    return int((truth & mask).sum()) / union if union else 1.0
