"""What a bundle must compute: the same answers from PyTorch, Grad-CAM by autograd.

In float64, so that a difference is the graph's: in float32 PyTorch itself is off by up to a few percent where
an activation is zero but for rounding, its ReLU switches and the gradient with it.
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.bundle.manifest import FAMILIARITY
from biounet_edge.indicators import INDICATORS
from export.components import FusionModule
from train.data.dataset import normalise
from train.gradcam import divide_by_maximum, explain, stack_heatmaps
from train.network import BioUNet, IndicatorNetwork


@dataclass(frozen=True)
class Reference:
    """PyTorch's answers about G images."""

    images: NDArray[np.uint8]
    """Graph inputs, shape (G, H, W, 3), RGB."""
    outputs: dict[str, NDArray[np.float32]]
    """Every output of the full graph, first axis G."""
    heatmaps: NDArray[np.float32]
    """The stack of 12 that enters each decoder, shape (J, G, 12, Hs, Ws), in [0, 1]."""
    cancellation: NDArray[np.float32]
    """How much larger the terms of each heatmap are than their sum at its peak, shape (J, G, 12)."""
    single_outputs: dict[str, NDArray[np.float32]]
    """The outputs as PyTorch computes them in float32: how far they are off is what float32 cannot hold."""
    single_heatmaps: NDArray[np.float32]
    """The stack of 12 in float32, shape (J, G, 12, Hs, Ws)."""


def compute_reference(model: BioUNet, images: NDArray[np.uint8]) -> Reference:
    """Run a model in PyTorch, in float64 and, to know what can be expected, in float32.

    Args:
        model: The trained network, in evaluation mode; it stays as it is.
        images: RGB images at the input size, shape (G, H, W, 3).

    Returns:
        Its answers.
    """
    single = _run_single(model, images)
    pixels = normalise(torch.from_numpy(images)).double()
    answers = []
    for name in INDICATORS:
        network = deepcopy(model.network(name)).double()
        answers.append(_answers(network, pixels) | {"cancellation": _cancellation(network, pixels)})
    stacked = {name: torch.stack([answer[name] for answer in answers], dim=1) for name in answers[0]}
    stacked |= _diagnose(deepcopy(FusionModule(model)).double(), stacked.pop("features"))
    arrays = {name: value.float().numpy() for name, value in stacked.items()}
    heatmaps, cancellation = (arrays.pop(name).swapaxes(0, 1) for name in ("heatmaps", "cancellation"))
    single_heatmaps = single.pop("heatmaps").swapaxes(0, 1)
    return Reference(images, arrays, heatmaps, cancellation, single, single_heatmaps)


def run_pytorch(model: BioUNet, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Run a model in PyTorch as it would be used there: in float32, Grad-CAM in one pass of autograd.

    Args:
        model: The trained network, in evaluation mode.
        images: RGB images at the input size, shape (G, H, W, 3).

    Returns:
        Every output of the full graph, first axis G.
    """
    outputs = _run_single(model, images)
    del outputs["heatmaps"]
    return outputs


def _run_single(model: BioUNet, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Every output in float32, and as "heatmaps" the stack that enters the decoders, (G, J, 12, Hs, Ws)."""
    pixels = normalise(torch.from_numpy(images))
    answers = [_answers(model.network(name), pixels) for name in INDICATORS]
    stacked = {name: torch.stack([answer[name] for answer in answers], dim=1) for name in answers[0]}
    stacked |= _diagnose(FusionModule(model), stacked.pop("features"))
    return {name: value.numpy() for name, value in stacked.items()}


def _diagnose(fusion: FusionModule, features: Tensor) -> dict[str, Tensor]:
    """The outputs of all encoders' features (G, J, D) together."""
    names = ("melanoma_probability", "melanoma_contribution", FAMILIARITY)
    with torch.no_grad():
        return dict(zip(names, fusion(features), strict=False))


def _answers(network: IndicatorNetwork, pixels: Tensor) -> dict[str, Tensor]:
    """One indicator's part of every output, and the stack of heatmaps, each with first axis G."""
    explanation = explain(network.encoder, network.classification_head, pixels, task=0)
    last = explanation.raw_heatmaps[-1]  # (G, h, w)
    heatmaps = stack_heatmaps(explanation.raw_heatmaps, network.config.heatmap_size_px)
    with torch.no_grad():
        mask = torch.sigmoid(network.segment(heatmaps, network.localised[0]))
    return {
        "features": explanation.features,
        "indicator_probability": torch.sigmoid(explanation.logits[:, 0]),
        "heatmap": divide_by_maximum(last),
        "heatmap_scale": last.amax((-2, -1)),
        "mask_probability": mask,
        "heatmaps": heatmaps,
    }


def _cancellation(network: IndicatorNetwork, pixels: Tensor) -> Tensor:
    """max(sum_k |alpha_k A_k|) / |max(sum_k alpha_k A_k)| over the pixels of each heatmap, shape (G, 12)."""
    encoding = network.encoder(pixels.clone().requires_grad_())
    logit = network.classification_head(encoding.features)[:, 0]
    factors = []
    for gradient, activation in zip(
        torch.autograd.grad(logit.sum(), encoding.activations), encoding.activations, strict=True
    ):
        terms = gradient.mean((2, 3), keepdim=True) * activation  # (G, C, h, w)
        factors.append(terms.abs().sum(1).amax((1, 2)) / terms.sum(1).amax((1, 2)).abs())
    return torch.stack(factors, dim=1).detach()
