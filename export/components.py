"""The parts of a Bio-U-Net as ONNX graphs: five encoders that explain, five decoders, the fusion head."""

from collections.abc import Callable, Sequence

import onnx_ir as ir
import torch
from torch import Tensor, nn

from biounet_edge.bundle.manifest import FAMILIARITY
from biounet_edge.indicators import INDICATORS
from export.heatmaps import stack_heatmaps
from export.trace import fill, finish, trace
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.gradcam import add_gradcam
from onnx_gradcam.heatmaps import divide_by_maximum
from onnx_gradcam.values import dimensions
from train.encoders import HEATMAPS
from train.network import BioUNet, IndicatorNetwork, NetworkConfig

FUSION = "fusion"
"""Name of the fusion component."""


def encoder_name(indicator: str) -> str:
    """Name the component that encodes and explains.

    Args:
        indicator: Its indicator.

    Returns:
        Name of the component.
    """
    return f"encoder_{indicator}"


def decoder_name(indicator: str) -> str:
    """Name the component that draws the mask.

    Args:
        indicator: Its indicator.

    Returns:
        Name of the component.
    """
    return f"decoder_{indicator}"


class EncoderModule(nn.Module):
    """An encoder with its classification head, and the activations that Grad-CAM explains."""

    def __init__(self, network: IndicatorNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.classification_head = network.classification_head

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Features (N, D), logits (N, 2) and 12 activations (N, C, h, w) of pixels (N, 3, H, W)."""
        encoding = self.encoder(pixels)
        return encoding.features, self.classification_head(encoding.features), *encoding.activations


class DecoderModule(nn.Module):
    """The heatmap path and the U-Net decoder."""

    def __init__(self, network: IndicatorNetwork) -> None:
        super().__init__()
        self.heatmap_path = network.heatmap_path(network.localised[0])

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Mask probability, shape (N, H, W), of heatmaps (N, 12, Hs, Ws)."""
        return torch.sigmoid(self.heatmap_path(heatmaps))


class FusionModule(nn.Module):
    """The fusion head, and the score of familiarity where the model has one."""

    def __init__(self, model: BioUNet) -> None:
        super().__init__()
        self.head = model.fusion_head
        self.familiarity = model.familiarity

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Melanoma probability (N), contributions (N, J) and familiarity (N) of features (N, J, D)."""
        diagnosis: tuple[Tensor, Tensor] = self.head(features)
        return diagnosis if self.familiarity is None else (*diagnosis, self.familiarity(features))


def make_components(model: BioUNet, report: Callable[[str], None]) -> dict[str, ir.Model]:
    """Write every component of a model.

    The five encoders are one architecture, so it is traced and differentiated once; so are the decoders.

    Args:
        model: The trained network.
        report: Called with a line about what is being done.

    Returns:
        Graph of each component by its name.
    """
    networks = {indicator: model.network(indicator) for indicator in INDICATORS}
    report("tracing the encoder and writing its Grad-CAM")
    encoders = _instances(networks, EncoderModule, write_encoder, encoder_name)
    report("tracing the decoder and the fusion head")
    decoders = _instances(networks, DecoderModule, write_decoder, decoder_name)
    return encoders | decoders | {FUSION: _fusion(model)}


def _instances(
    networks: dict[str, IndicatorNetwork],
    wrap: Callable[[IndicatorNetwork], nn.Module],
    write: Callable[[nn.Module, NetworkConfig], ir.Model],
    name_of: Callable[[str], str],
) -> dict[str, ir.Model]:
    """Write the first network as a graph, and the others as copies of it with their own weights."""
    modules = {name_of(indicator): wrap(network) for indicator, network in networks.items()}
    first = next(iter(modules.values()))
    template = write(first, next(iter(networks.values())).config)
    states = {name: module.state_dict() for name, module in modules.items()}
    return {name: fill(template, first.state_dict(), state) for name, state in states.items()}


def write_encoder(module: nn.Module, config: NetworkConfig) -> ir.Model:
    """Pixels (N, 3, H, W) to features, logits, heatmap, heatmap_scale and heatmaps."""
    targets = [f"activation_{block}" for block in range(HEATMAPS)]
    size = config.image_size_px
    model = trace(module, "pixels", (3, size, size), ["features", "logits", *targets])
    indicator = 0  # a classification head's first logit is its indicator, its second melanoma
    raw_heatmaps = add_gradcam(model, "logits", indicator, targets)
    builder = GraphBuilder(model.graph)
    last, maximum = divide_by_maximum(builder, raw_heatmaps[-1])  # (N, h, w), (N, 1, 1)
    scale = builder.reshape(maximum, [-1])
    stack = stack_heatmaps(builder, raw_heatmaps, config.heatmap_size_px)
    del model.graph.outputs[2:]
    add_output(model.graph, "heatmap", last, dimensions(raw_heatmaps[-1])[1:])
    add_output(model.graph, "heatmap_scale", scale, [])
    add_output(model.graph, "heatmaps", stack, [HEATMAPS, config.heatmap_size_px, config.heatmap_size_px])
    return finish(model)


def add_output(graph: ir.Graph, name: str, value: ir.Value, sizes: Sequence[int | None]) -> None:
    """Make a float32 value an output of the graph.

    Args:
        graph: The graph, whose batch axis is N.
        name: Name of the output.
        value: What it returns.
        sizes: Its sizes without the batch axis.
    """
    value.name = name
    value.shape, value.dtype = ir.Shape(["N", *sizes]), ir.DataType.FLOAT
    graph.outputs.append(value)


def write_decoder(module: nn.Module, config: NetworkConfig) -> ir.Model:
    """Heatmaps (N, 12, Hs, Ws) to mask_probability (N, H, W)."""
    size = config.heatmap_size_px
    return trace(module, "heatmaps", (HEATMAPS, size, size), ["mask_probability"])


def _fusion(model: BioUNet) -> ir.Model:
    """Features (N, J, D) to melanoma_probability (N), melanoma_contribution (N, J) and familiarity (N)."""
    shape = (len(INDICATORS), model.config.features)
    outputs = ["melanoma_probability", "melanoma_contribution"]
    if model.familiarity is not None:
        outputs.append(FAMILIARITY)
    return trace(FusionModule(model), "features", shape, outputs)
