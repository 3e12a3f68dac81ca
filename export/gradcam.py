"""Grad-CAM written into an ONNX graph.

    alpha_k = mean over space of d logit / d A_k          one weight per channel k of the target A
    heatmap = ReLU(sum over k of alpha_k A_k)

The result is a graph of ordinary forward operators: it needs no autograd where it runs.

Source: Selvaraju et al., Grad-CAM, 2017, arXiv:1610.02391, equations 1 and 2.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from biounet_edge.errors import ExportError
from export.backward import backpropagate
from export.builder import GraphBuilder, dimensions, element_type


def add_gradcam(model: ir.Model, logits: str, index: int, targets: Sequence[str]) -> list[ir.Value]:
    """Appends the Grad-CAM heatmaps of one logit to an ONNX classifier.

    The classifier may be any graph whose operators between targets and logits have a rule in vjp.py.

    Args:
        model: The classifier; its graph grows, its outputs stay.
        logits: Name of the logits, shape (N, K).
        index: Which logit is explained.
        targets: Names of the activations that are explained, each of shape (N, C, h, w).

    Returns:
        Raw heatmap of each target, shape (N, h, w): not resized, in units of the logit. They are not yet
        outputs of the graph.

    Raises:
        ExportError: If a name or the index is not there, an operator has no rule, or the logits do not
            depend on a target.
    """
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    if any(value.shape is None for value in values.values()):
        ShapeInferencePass()(model)
    for name in (logits, *targets):
        if name not in values:
            raise ExportError(f"the graph has no value {name!r}: expected the name of a node's output")
    builder = GraphBuilder(model.graph)
    activations = [values[name] for name in targets]
    scale = _gradient_scale(activations[-1])
    seed = _scaled_one_hot(builder, values[logits], index, scale)
    gradients = backpropagate(builder, values[logits], seed, activations)
    heatmaps = [_heatmap(builder, a, _mean_over_space(builder, gradients[a], scale)) for a in activations]
    builder.remove_unused(keep=heatmaps)
    return heatmaps


def _gradient_scale(activation: ir.Value) -> float:
    """Factor that the gradient is computed with and alpha is divided by.

    Behind global average pooling a gradient is divided by the number of pixels, 256 in a ResNet-50 at 512
    pixels, and ends where float16 loses its digits. A power of two near that number costs float32 nothing.
    """
    space = [size for size in dimensions(activation)[2:] if size is not None]
    return 2.0 ** round(math.log2(math.prod(space)))


def _scaled_one_hot(builder: GraphBuilder, logits: ir.Value, index: int, scale: float) -> ir.Value:
    """The gradient of one logit with respect to all logits, times the scale, for each image: shape (N, K)."""
    sizes = dimensions(logits)
    if len(sizes) != 2 or sizes[1] is None or not 0 <= index < sizes[1]:
        raise ExportError(f"logit {index} of {logits.name!r} was asked for, and its shape is {logits.shape}")
    row = np.zeros((1, sizes[1]), element_type(logits).numpy())
    row[0, index] = scale
    seed = builder.op("Expand", [builder.constant(row), builder.shape(logits)])
    seed.shape, seed.type = logits.shape, logits.type
    return seed


def _mean_over_space(builder: GraphBuilder, gradient: ir.Value, scale: float) -> ir.Value:
    """alpha, shape (N, 1, C), of a gradient (N, C, h, w) that was computed with a scale.

    Under global average pooling the gradient is the same at every pixel: then it was repeated by an Expand,
    what stood in front of it is its mean, and no pass over the pixels is left in the graph.
    """
    repeat = gradient.producer()
    if repeat is not None and repeat.op_type == "Expand" and _is_one_pixel(repeat.inputs[0]):
        alpha = repeat.inputs[0]  # (N, C, 1, 1)
    else:
        space = range(2, len(dimensions(gradient)))
        alpha = builder.op("ReduceMean", [gradient, builder.integers(space)], {"keepdims": 0})  # (N, C)
    assert alpha is not None, "Expand requires an input"
    alpha = builder.reshape(alpha, [0, 1, -1])
    return builder.op("Mul", [alpha, builder.number_like(1 / scale, gradient)])


def _is_one_pixel(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and set(dimensions(value)[2:]) == {1}


def _heatmap(builder: GraphBuilder, activation: ir.Value, alpha: ir.Value) -> ir.Value:
    """ReLU(sum_k alpha_k A_k), shape (N, h, w), as a product of matrices.

    ONNX Runtime takes eight times as long for a ReduceSum over the channels.
    """
    pixels = builder.reshape(activation, [0, 0, -1])  # (N, C, h w)
    weighted = builder.op("MatMul", [alpha, pixels])  # (N, 1, h w)
    weighted = builder.op("Reshape", [weighted, _without_channels(builder, activation)])  # (N, h, w)
    heatmap = builder.op("Relu", [weighted])
    if activation.shape is not None:
        heatmap.shape = ir.Shape([activation.shape[0], *activation.shape[2:]])
    heatmap.type = activation.type
    return heatmap


def _without_channels(builder: GraphBuilder, activation: ir.Value) -> ir.Value:
    space = dimensions(activation)[2:]
    if None not in space:
        return builder.integers([0, *(size for size in space if size is not None)])
    return builder.op("Concat", [builder.integers([0]), builder.shape(activation, start=2)], {"axis": 0})
