"""Reference Grad-CAM: the heatmaps of one logit by autograd.

The exported graphs hold the same computation without autograd and are judged against this file.

Source: Selvaraju et al., Grad-CAM, 2017, arXiv:1610.02391, equations 1 and 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.encoders import Encoder


@dataclass(frozen=True)
class Explanation:
    """An encoder's answer about one logit."""

    features: Tensor
    """Pooled features, shape (N, D)."""
    logits: Tensor
    """All logits of the classification head, shape (N, tasks)."""
    raw_heatmaps: list[Tensor]
    """ReLU(sum_k alpha_k A_k) of each of the 12 explained blocks at its own resolution, each (N, h, w)."""


def explain(encoder: Encoder, classification_head: nn.Module, pixels: Tensor, task: int) -> Explanation:
    """Compute the Grad-CAM heatmaps of all explained blocks in one backward pass.

    The weights get no gradient, and nothing that is returned carries one: Algorithm 1 wants no gradient
    through the heatmaps.

    Args:
        encoder: The encoder to explain, in evaluation mode: otherwise batch norm would mix the images.
        classification_head: Linear layer from features to logits.
        pixels: Normalised images, shape (N, 3, H, W).
        task: Index of the logit to explain.

    Raises:
        ValueError: If the encoder is in training mode.
    """
    if encoder.training:
        raise ValueError(
            "Grad-CAM needs an encoder in evaluation mode, this one trains; call encoder.eval() first"
        )
    with torch.enable_grad():
        encoding = encoder(pixels.detach().requires_grad_(True))
        logits = classification_head(encoding.features)
        # Images are independent in evaluation mode, so the gradient of the sum holds each image's own.
        gradients = torch.autograd.grad(logits[:, task].sum(), encoding.activations)
    with torch.no_grad():
        raw = [
            functional.relu((gradient.mean((2, 3), keepdim=True) * activation).sum(1))
            for gradient, activation in zip(gradients, encoding.activations, strict=True)
        ]
    return Explanation(encoding.features.detach(), logits.detach(), raw)


def divide_by_maximum(heatmaps: Tensor) -> Tensor:
    """Scale each map (..., h, w) of non-negative values to a maximum of 1; a map of zeros stays zero."""
    maximum = heatmaps.amax((-2, -1), keepdim=True)
    return heatmaps / torch.where(maximum > 0, maximum, torch.ones_like(maximum))


def stack_heatmaps(raw_heatmaps: list[Tensor], size_px: int) -> Tensor:
    """Resize raw heatmaps to one size and divide each by its own maximum: the input H of the U-Net.

    Args:
        raw_heatmaps: Maps of shape (N, h, w) of any sizes.
        size_px: Height and width of the result.

    Returns:
        Heatmaps in [0, 1], shape (N, B, size_px, size_px).
    """
    size = (size_px, size_px)
    resized = [
        functional.interpolate(raw[:, None], size=size, mode="bilinear", align_corners=False)
        for raw in raw_heatmaps
    ]
    return divide_by_maximum(torch.cat(resized, dim=1))
