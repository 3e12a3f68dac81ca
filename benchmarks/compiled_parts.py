"""Grad-CAM in a form that torch.compile takes: the gradient as a function, inside the compiled function.

Compiling `explain` as it is written fails: a compiled function is one node of the autograd graph, and its
activations and its logits are outputs of that node, of which none is the other's input. So the gradient is
taken inside, by torch.func.grad. And it is taken with respect to a zero that is added to each channel of an
activation: its gradient is the sum over the channel's pixels, which is all that Grad-CAM needs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.parts import ComputePart, Part
from biounet_edge.bundle.manifest import Level
from train.encoders import HEATMAPS, Encoder
from train.encoders.efficientnet_lite0 import EfficientNetLite0, InvertedResidual
from train.encoders.resnet50 import Bottleneck, ResNet50
from train.gradcam import divide_by_maximum, stack_heatmaps
from train.network import IndicatorNetwork

_Compiled = Callable[[Tensor], tuple[Tensor, ...]]


def compiled_part(level: Level) -> ComputePart:
    """Inductor with the weights frozen, which lets it lay them out as its kernels want them.

    Args:
        level: How much is computed.

    Returns:
        How a part is computed; its first call compiles, once for each network and batch size.
    """
    compiled: dict[int, _Compiled] = {}

    def compute(network: IndicatorNetwork, pixels: Tensor) -> Part:
        if id(network) not in compiled:
            compiled[id(network)] = _compile(network, level)
        with torch.no_grad():
            return Part(*compiled[id(network)](pixels))

    return compute


def _compile(network: IndicatorNetwork, level: Level) -> _Compiled:
    def compute(pixels: Tensor) -> tuple[Tensor, ...]:
        if level == "classify":
            features = network.encoder(pixels).features
            return features, network.classification_head(features)
        targets = 1 if level == "cam" else HEATMAPS
        features, logits, raw = explain_as_function(network, pixels, targets)
        answers = features, logits, divide_by_maximum(raw[-1]), raw[-1].amax((-2, -1))
        if level == "cam":
            return answers
        heatmaps = stack_heatmaps(raw, network.config.heatmap_size_px)
        return *answers, torch.sigmoid(network.segment(heatmaps, network.localised[0]))

    options: dict[str, str | int | bool | Callable[..., object]] = {"freezing": True}
    # By itself all networks would share one limit of eight compilations: five in two formats exceed it.
    return torch.compile(compute, fullgraph=True, dynamic=False, options=options, isolate_recompiles=True)


def explain_as_function(
    network: IndicatorNetwork, pixels: Tensor, targets: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Computes features, logits and raw heatmaps without autograd's graph.

    Args:
        network: In evaluation mode.
        pixels: Normalised images, shape (N, 3, H, W).
        targets: How many of the 12 blocks are explained, counted from the last.

    Returns:
        Features (N, D), logits (N, 2) and a map (N, h, w) for each target, first to last.
    """

    def logit(shifts: list[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, list[Tensor]]]:
        features, activations = _encode(network.encoder, pixels, shifts)
        logits = network.classification_head(features)
        return logits[:, 0].sum(), (features, logits, activations)

    widths = _widths(network.encoder)[-targets:]
    shifts = [pixels.new_zeros(len(pixels), width, 1, 1) for width in widths]
    sums, (features, logits, activations) = torch.func.grad(logit, has_aux=True)(shifts)
    raw = [
        functional.relu((total * activation).sum(1) / activation[0, 0].numel())
        for total, activation in zip(sums, activations, strict=True)
    ]
    return features, logits, raw


def _widths(encoder: Encoder) -> list[int]:
    """Channels of each target."""
    blocks = encoder.blocks()
    return [_last_norm(blocks[index]).num_features for index in encoder.EXPLAINED]


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    if isinstance(block, Bottleneck):
        return block.bn3
    assert isinstance(block, InvertedResidual), "there are two families"
    return block.bn_project


def _encode(encoder: Encoder, x: Tensor, shifts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Encoder.forward, with a shift added to each of the last activations."""
    if isinstance(encoder, ResNet50):
        x = functional.relu(encoder.bn1(encoder.conv1(x)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
    else:
        assert isinstance(encoder, EfficientNetLite0), "there are two families"
        x = functional.relu6(encoder.bn_stem(encoder.conv_stem(x)))
    shift_of = dict(zip(encoder.EXPLAINED[-len(shifts) :], shifts, strict=True))
    activations: list[Tensor] = []
    for index, block in enumerate(encoder.blocks()):
        x = block(x)
        if index in shift_of:
            x = x + shift_of[index]
            activations.append(x)
    if isinstance(encoder, EfficientNetLite0) and encoder.conv_head is not None:
        x = functional.relu6(encoder.bn_head(encoder.conv_head(x)))
    return x.mean((2, 3)), activations
