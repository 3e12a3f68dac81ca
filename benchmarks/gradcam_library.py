"""The same answers by pytorch-grad-cam, the library that most people take for Grad-CAM.

Source: https://github.com/jacobgil/pytorch-grad-cam
"""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.parts import ComputePart, Part
from biounet_edge.bundle.manifest import Level
from biounet_edge.errors import InputError
from train.encoders import Encoder
from train.gradcam import divide_by_maximum
from train.network import IndicatorNetwork


class _Logits(nn.Module):
    """An encoder with its head, as the library wants it; keeps the features for the fusion head."""

    def __init__(self, network: IndicatorNetwork) -> None:
        super().__init__()
        self.encoder, self.classification_head = network.encoder, network.classification_head
        self.features: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.encoder(pixels).features
        self.features = features.detach()
        return self.classification_head(features)  # type: ignore[no-any-return]


class _PerLayer(GradCAM):  # type: ignore[misc]
    """Returns the map of each layer, where the library would return their mean."""

    def aggregate_multi_layers(self, cam_per_target_layer: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate(cam_per_target_layer, axis=1)  # (N, layers, H, W)


def call_per_layer(level: Level) -> ComputePart:
    """As the library's readme shows it: a call for each layer, on a model as it was loaded.

    Args:
        level: cam or full.

    Returns:
        How a part is computed.

    Raises:
        InputError: At level classify, which has no heatmaps.
    """
    _check(level)

    def compute(network: IndicatorNetwork, pixels: Tensor) -> Part:
        logits = _Logits(network).requires_grad_(True)
        maps = []
        try:
            for layer in _layers(network.encoder, level):
                with GradCAM(model=logits, target_layers=[layer]) as cam:
                    maps.append(cam(input_tensor=pixels, targets=_targets(pixels)))
        finally:
            logits.requires_grad_(False).zero_grad()
        return _finish(network, level, logits, cam, np.stack(maps, axis=1))

    return compute


def one_call(level: Level) -> ComputePart:
    """As fast as the library goes: frozen weights, one pass for all layers, each layer's map kept.

    Args:
        level: cam or full.

    Returns:
        How a part is computed.

    Raises:
        InputError: At level classify, which has no heatmaps.
    """
    _check(level)

    def compute(network: IndicatorNetwork, pixels: Tensor) -> Part:
        logits = _Logits(network)
        with _PerLayer(model=logits, target_layers=_layers(network.encoder, level)) as cam:
            maps = cam(input_tensor=pixels.detach().requires_grad_(True), targets=_targets(pixels))
        return _finish(network, level, logits, cam, maps)

    return compute


def _check(level: Level) -> None:
    if level == "classify":
        raise InputError("pytorch-grad-cam makes heatmaps, and level classify has none: choose cam or full")


def _layers(encoder: Encoder, level: Level) -> list[nn.Module]:
    blocks = encoder.blocks()
    return [blocks[index] for index in (encoder.EXPLAINED[-1:] if level == "cam" else encoder.EXPLAINED)]


def _targets(pixels: Tensor) -> list[ClassifierOutputTarget]:
    return [ClassifierOutputTarget(0)] * len(pixels)


def _finish(
    network: IndicatorNetwork, level: Level, logits: _Logits, cam: Any, maps: NDArray[np.float32]
) -> Part:
    """Masks from the library's maps, shape (N, layers, H, W): of the input's size, with a maximum of 1."""
    assert logits.features is not None, "the library has called the model"
    answer = cam.outputs.detach()
    side = network.config.image_size_px // 32  # of the last block
    last = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in maps[:, -1]])
    heatmap = torch.from_numpy(last)
    if level == "cam":
        return Part(logits.features, answer, heatmap)
    size = (network.config.heatmap_size_px,) * 2
    with torch.no_grad():
        stack = functional.interpolate(torch.from_numpy(maps), size=size, mode="bilinear")
        stack = divide_by_maximum(stack)  # the library divides before it resizes
        mask = torch.sigmoid(network.segment(stack, network.localised[0]))
    return Part(logits.features, answer, heatmap, mask_probability=mask)
