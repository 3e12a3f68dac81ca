"""The loss of masks that an encoder's features give, beside f_Res's."""

import torch
from torch import Tensor
from torch.nn import functional

from train.losses.soft_dice import SMOOTHING


def mask_supervision(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of the places of known masks, and soft dice, without squares, of the filled ones.

    Args:
        logits: Mask logits, shape (N, J, h, w).
        truth: Part of each place that the indicator covers, in [0, 1], shape (N, J, h, w); NaN in the whole
            mask where nobody drew it.

    Returns:
        Mean over all N x J masks, in which an unknown mask counts as 0, a scalar.
    """
    known = ~torch.isnan(truth[:, :, 0, 0])
    truth = torch.nan_to_num(truth).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((2, 3))
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum((2, 3))
    total = (probability + truth).sum((2, 3))
    dice = 1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    filled = truth.amax((2, 3)) > 0
    return ((entropy + dice * filled) * known).mean()
