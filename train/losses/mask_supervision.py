"""What expert masks teach an encoder in f_Res: where an indicator is, and to answer because of that place."""

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


def explanation_supervision(heatmaps: Tensor, truth: Tensor) -> Tensor:
    """Soft dice, without squares, of heatmaps and filled masks: the network is to look where the expert does.

    Args:
        heatmaps: Grad-CAM heatmaps in [0, 1], shape (N, J, D, h, w).
        truth: Part of each place that the indicator covers, in [0, 1], shape (N, J, H, W), at least as fine;
            NaN in the whole mask where nobody drew it.

    Returns:
        Mean over all N x J masks, in which one that is empty or unknown counts as 0, a scalar.

    Source:
        Ross et al., Right for the Right Reasons, 2017, arXiv:1703.03717; Li et al., Tell Me Where to Look,
        2018, arXiv:1802.10171
    """
    truth = functional.interpolate(torch.nan_to_num(truth), heatmaps.shape[-2:], mode="area").to(
        heatmaps.dtype
    )
    truth = truth[:, :, None]
    overlap = (heatmaps * truth).sum((3, 4))
    total = (heatmaps + truth).sum((3, 4)).clamp_min(1e-6)
    dice = (1 - 2 * overlap / total).mean(2)  # (N, J)
    return (dice * (truth.amax((2, 3, 4)) > 0)).mean()
