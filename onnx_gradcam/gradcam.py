"""Grad-CAM written into an ONNX graph: from a score back to layers, and from both to heatmaps.

The result is a graph of ordinary forward operators: it needs no autograd where it runs.
"""

import math
from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.cam_methods import CAM_METHODS, Method
from onnx_gradcam.layers import Layer, channels_first
from onnx_gradcam.scores import fixed_seed
from onnx_gradcam.values import value_named


def add_gradcam(model: ir.Model, logits: str, index: int, targets: Sequence[str]) -> list[ir.Value]:
    """Append the Grad-CAM heatmaps of one logit to an ONNX classifier.

    Every operator between targets and logits needs a rule in onnx_gradcam/vjp.

    Args:
        model: The classifier; its graph grows, its outputs stay.
        logits: Name of the logits, shape (N, K).
        index: Which logit is explained.
        targets: Names of the activations that are explained, each of shape (N, C, h, w).

    Returns:
        Raw heatmap of each target, shape (N, h, w): not resized, in units of the logit. They are not yet
        outputs of the graph.

    Raises:
        OptionError: If a name or the index does not exist, or the logits do not depend on a target.
        UnsupportedOperatorError: If an operator has no rule.
    """
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    if any(value.shape is None for value in values.values()):
        ShapeInferencePass()(model)
    scores = value_named(model.graph, logits)
    layers = [channels_first(value_named(model.graph, name)) for name in targets]
    builder = GraphBuilder(model.graph)
    scale = gradient_scale(layers)
    seed = fixed_seed(builder, scores, index, scale)
    heatmaps = explain(builder, scores, seed, scale, layers, "gradcam")
    builder.remove_unused(keep=heatmaps)
    return heatmaps


def explain(
    builder: GraphBuilder,
    scores: ir.Value,
    seed: ir.Value,
    scale: float,
    layers: Sequence[Layer],
    method: Method,
) -> list[ir.Value]:
    """Append the heatmaps of layers.

    Args:
        scores: What is explained.
        seed: Which of them: `scale` at its place for each image, 0 elsewhere.
        scale: From `gradient_scale`; heatmaps are divided by it again.
        layers: What it is explained by.
        method: How activations and gradients become a heatmap.

    Returns:
        Raw heatmap of each layer, shape (N, h, w): not resized, in units of the score.

    Raises:
        OptionError: If the scores do not depend on a layer.
        UnsupportedOperatorError: If an operator has no rule.
    """
    gradients = backpropagate(builder, scores, seed, [layer.value for layer in layers])
    heatmaps: list[ir.Value] = []
    with builder.arithmetic():
        for layer in layers:
            activations = layer.maps(builder, layer.value)
            gradient = layer.maps(builder, gradients[layer.value])
            heatmap = builder.op("Relu", [CAM_METHODS[method](builder, activations, gradient, scale)])
            batch = layer.value.shape[0] if layer.value.shape is not None else None
            heatmap.shape = ir.Shape([batch, *layer.layout.grid])
            heatmaps.append(heatmap)
    return heatmaps


def gradient_scale(layers: Sequence[Layer]) -> float:
    """Return the power of two that gradients are multiplied with.

    Global average pooling divides a gradient by the number of pixels, 256 in a ResNet-50 at 512 pixels, which
    brings it to where float16 loses its digits. A power of two near that number costs float32 nothing.

    Args:
        layers: What is explained; the last one counts.
    """
    space = [size for size in layers[-1].layout.grid if size is not None]
    return 2.0 ** round(math.log2(math.prod(space)))
