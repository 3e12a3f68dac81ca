"""What the subnetworks cost, counted on PyTorch's own operators.

The network is built on the meta device, so a count takes no memory and no arithmetic. A multiplication and an
addition count as two; batch norm, ReLU, pooling and resizing are left out, as the counter leaves them out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from train.encoders import HEATMAPS
from train.gradcam import explain
from train.network import IndicatorNetwork, NetworkConfig
from train.tasks import indicators_of

GIGA = 1e9


@dataclass(frozen=True)
class SubnetworkFlops:
    """GFLOPs for one image in one encoder, 2 per multiply-add."""

    encoder_forward: float
    """Pixels to features; with a linear layer this is all that a prediction of presence takes."""
    contrastive_update: float
    """f_CLR: both augmented views of the image, forward and backward."""
    classification_update: float
    """f_Res: forward and backward."""
    grad_cam: float
    """Heatmaps of one logit: forward, and its gradient back to the first of the 12 targets."""
    segmentation_forward: float
    """f_Seg: 12 heatmaps to one mask."""
    segmentation_update: float
    """f_Seg: forward and backward, without the Grad-CAM that makes its input."""
    decoder_forward: float
    """The U-Net decoder's part of f_Seg."""

    @property
    def iteration(self) -> float:
        """One image through every update of an iteration of Algorithm 1, Grad-CAM included."""
        updates = self.contrastive_update + self.classification_update + self.segmentation_update
        return updates + self.grad_cam


@cache
def count_flops(config: NetworkConfig) -> SubnetworkFlops:
    """Count what one image costs in the first encoder of a topology.

    Encoders differ in nothing but the number of their logits, which is too small to show.

    Args:
        config: Topology.

    Returns:
        GFLOPs of each part.
    """
    with torch.device("meta"):
        tasks = config.encoders[0]
        indicator = indicators_of(tasks)[0]
        # In evaluation mode batch norm takes a batch of one image; it is not counted in either mode.
        network = IndicatorNetwork(config, tasks, (indicator,)).eval()
        size, heatmap_size = config.image_size_px, config.heatmap_size_px
        pixels = torch.empty(1, 3, size, size)
        heatmaps = torch.empty(1, HEATMAPS, heatmap_size, heatmap_size)
    path, project = network.heatmap_path(indicator), network.projection_head
    target = tasks.index(indicator)
    with torch.no_grad():
        skips = path.encoder(heatmaps).skips
        encoder_forward = count(lambda: network.encoder(pixels))
        segmentation_forward = count(lambda: network.segment(heatmaps, indicator))
        decoder_forward = count(lambda: path.decoder(skips))
    return SubnetworkFlops(
        encoder_forward=encoder_forward,
        contrastive_update=2 * count(lambda: _backward(project(network.encoder(pixels).features))),
        classification_update=count(lambda: _backward(network.classify(pixels))),
        grad_cam=count(lambda: explain(network.encoder, network.classification_head, pixels, target)),
        segmentation_forward=segmentation_forward,
        segmentation_update=count(lambda: _backward(network.segment(heatmaps, indicator))),
        decoder_forward=decoder_forward,
    )


def count(compute: Callable[[], object]) -> float:
    """GFLOPs of everything that a function computes on tensors."""
    with FlopCounterMode(display=False, custom_mapping=_OWN_FORMULAS) as counter:
        compute()
    return float(counter.get_total_flops()) / GIGA


def _convolution_backward(
    gradient: list[int],
    x: list[int],
    weight: list[int],
    _bias: list[int] | None,
    _stride: list[int],
    _padding: list[int],
    _dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    _groups: int,
    wanted: list[bool],
    **_shapes: object,
) -> int:
    """Each gradient, the input's and the weight's, takes as many multiply-adds as the convolution itself.

    PyTorch's own formula counts the weight's as if there were no groups.
    """
    return conv_flop_count(x, weight, gradient, transposed) * sum(wanted[:2])


_OWN_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


def _backward(output: torch.Tensor) -> None:
    output.sum().backward()  # type: ignore[no-untyped-call]
