"""What every PyTorch side computes for one indicator, and how five of them become a graph's outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.bundle.manifest import Level
from biounet_edge.indicators import INDICATORS
from train.data.dataset import normalise
from train.gradcam import divide_by_maximum, explain, stack_heatmaps
from train.network import BioUNet, IndicatorNetwork

Arrays = dict[str, NDArray[np.float32]]
"""Outputs by name, first axis N, as a backend returns them."""


@dataclass(frozen=True)
class Part:
    """One indicator's answer about a batch."""

    features: Tensor
    """Pooled features, shape (N, D)."""
    logits: Tensor
    """Of the classification head, shape (N, 2): the indicator, melanoma."""
    heatmap: Tensor | None = None
    """Heatmap of the last block, divided by its maximum, shape (N, h, w); None at level classify."""
    heatmap_scale: Tensor | None = None
    """That maximum, shape (N); None where it is not known."""
    mask_probability: Tensor | None = None
    """Shape (N, H, W); None below level full."""


ComputePart = Callable[[IndicatorNetwork, Tensor], Part]
"""From a network and normalised images, shape (N, 3, H, W), to its answer."""


def answer(model: BioUNet, compute: ComputePart, images: NDArray[np.uint8]) -> Arrays:
    """Computes what a bundle's graph computes, from the same input.

    Args:
        model: The network, in evaluation mode.
        compute: How an indicator's part is computed.
        images: RGB images at the input size, shape (N, H, W, 3).

    Returns:
        The outputs that the level has, without what no part knows.
    """
    pixels = normalise(torch.from_numpy(images))
    parts = [compute(model.network(name), pixels) for name in INDICATORS]
    with torch.no_grad():
        features = torch.stack([part.features.float() for part in parts], dim=1)  # (N, J, D)
        probability, contribution = model.fusion_head(features)
    outputs = {
        "melanoma_probability": probability,
        "melanoma_contribution": contribution,
        "indicator_probability": torch.stack([torch.sigmoid(part.logits[:, 0]) for part in parts], dim=1),
    }
    for name in ("heatmap", "heatmap_scale", "mask_probability"):
        values = [value for part in parts if (value := getattr(part, name)) is not None]
        if values:
            outputs[name] = torch.stack(values, dim=1)
    return {name: value.float().numpy() for name, value in outputs.items()}


def eager_part(level: Level) -> ComputePart:
    """Plain PyTorch: gradients with respect to activations only, in one autograd pass an indicator.

    Args:
        level: classify takes no gradient, cam that of the last block, full those of all twelve.

    Returns:
        How a part is computed.
    """
    compute: Mapping[Level, ComputePart] = {"classify": _classify, "cam": _explain_last, "full": _explain_all}
    return compute[level]


def _classify(network: IndicatorNetwork, pixels: Tensor) -> Part:
    with torch.no_grad():
        features = network.encoder(pixels).features
        return Part(features, network.classification_head(features))


def _explain_last(network: IndicatorNetwork, pixels: Tensor) -> Part:
    """As `explain`, whose pass ends where the last block begins."""
    with torch.enable_grad():
        encoding = network.encoder(pixels.detach().requires_grad_(True))
        logits = network.classification_head(encoding.features)
        last = encoding.activations[-1]
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), last)
    with torch.no_grad():
        raw = torch.relu((gradient.mean((2, 3), keepdim=True) * last).sum(1))
        scale = raw.amax((-2, -1))
        return Part(encoding.features.detach(), logits.detach(), divide_by_maximum(raw), scale)


def _explain_all(network: IndicatorNetwork, pixels: Tensor) -> Part:
    explanation = explain(network.encoder, network.classification_head, pixels, task=0)
    with torch.no_grad():
        heatmaps = stack_heatmaps(explanation.raw_heatmaps, network.config.heatmap_size_px)
        mask = torch.sigmoid(network.segment(heatmaps, network.localised[0]))
        last = explanation.raw_heatmaps[-1]
        heatmap, scale = divide_by_maximum(last), last.amax((-2, -1))
    return Part(explanation.features, explanation.logits, heatmap, scale, mask)
