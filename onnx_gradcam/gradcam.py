"""Grad-CAM written into an ONNX graph: from a score back to layers, and from both to heatmaps.

The result is a graph of ordinary forward operators: it needs no autograd where it runs.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from biounet_edge.errors import ExportError
from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder, dimensions, element_type
from onnx_gradcam.cam_methods import CAM_METHODS, Method
from onnx_gradcam.layers import Layer, channels_first


def add_gradcam(model: ir.Model, logits: str, index: int, targets: Sequence[str]) -> list[ir.Value]:
    """Appends the Grad-CAM heatmaps of one logit to an ONNX classifier.

    The classifier may be any graph whose operators between targets and logits have a rule in onnx_gradcam/vjp.

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
    scale = gradient_scale([channels_first(values[targets[-1]])])
    seed = fixed_seed(builder, values[logits], index, scale)
    layers = [channels_first(values[name]) for name in targets]
    heatmaps = explain(builder, values[logits], seed, scale, layers, "gradcam")
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
    """Appends the heatmaps of layers.

    Args:
        builder: Builder on the graph.
        scores: What is explained.
        seed: Which of them: the scale at its place for each image, 0 elsewhere.
        scale: The scale.
        layers: What it is explained by.
        method: How activations and gradients become a heatmap.

    Returns:
        Raw heatmap of each layer, shape (N, h, w): not resized, in units of the score.

    Raises:
        ExportError: If an operator has no rule, or the scores do not depend on a layer.
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
    """Gives the factor that gradients are computed with, and heatmaps are divided by.

    Behind global average pooling a gradient is divided by the number of pixels, 256 in a ResNet-50 at 512
    pixels, and ends where float16 loses its digits. A power of two near that number costs float32 nothing.

    Args:
        layers: What is explained; the last one counts.

    Returns:
        A power of two.
    """
    space = [size for size in layers[-1].layout.grid if size is not None]
    return 2.0 ** round(math.log2(math.prod(space)))


def fixed_seed(builder: GraphBuilder, scores: ir.Value, index: int, scale: float) -> ir.Value:
    """Appends the gradient of one score with respect to all, times the scale, the same for each image.

    Args:
        builder: Builder on the graph.
        scores: Shape (N, K), or as `number_of_scores` allows.
        index: The score.
        scale: The scale.

    Returns:
        The seed of a backward pass, of the scores' shape.

    Raises:
        ExportError: If there is no such score.
    """
    count = number_of_scores(scores)
    if not 0 <= index < count:
        raise ExportError(
            f"logit {index} of {scores.name!r} was asked for, and its shape is {scores.shape}: expected 0 to "
            f"{count - 1}"
        )
    row = np.zeros([1] + [count] * (len(dimensions(scores)) > 1) + [1] * len(dimensions(scores)[2:]))
    row.flat[index] = scale
    seed = builder.op("Expand", [builder.array_like(row, scores), builder.shape(scores)])
    seed.shape, seed.type = scores.shape, scores.type
    return seed


def chosen_seed(builder: GraphBuilder, scores: ir.Value, chosen: ir.Value, scale: float) -> ir.Value:
    """Appends the same for a score that is chosen for each image when the graph runs.

    Args:
        builder: Builder on the graph.
        scores: Shape (N, K), or as `number_of_scores` allows.
        chosen: Index of a score for each image, shape (N), int64; one that does not exist gives zeros.
        scale: The scale.

    Returns:
        The seed of a backward pass, of the scores' shape.
    """
    rank = len(dimensions(scores))
    numbers = np.arange(number_of_scores(scores), dtype=np.int64).reshape([-1] + [1] * max(rank - 2, 0))
    index = builder.reshape(chosen, [-1] + [1] * (rank - 1))
    found = builder.op("Equal", [index, builder.constant(numbers)])
    seed = builder.op("Where", [found, builder.number_like(scale, scores), builder.number_like(0, scores)])
    seed.shape, seed.type = scores.shape, scores.type
    return seed


def best_score(builder: GraphBuilder, scores: ir.Value) -> ir.Value:
    """Appends the index of each image's largest score, the first of several.

    Args:
        builder: Builder on the graph.
        scores: Shape (N, K), or as `number_of_scores` allows.

    Returns:
        Indices, shape (N), int64.
    """
    flat = builder.reshape(scores, [-1, number_of_scores(scores)])
    best = builder.op("ArgMax", [flat], {"axis": 1, "keepdims": 0})
    best.shape = ir.Shape([dimensions(scores)[0]])
    return best


def number_of_scores(scores: ir.Value) -> int:
    """Counts the scores of an image.

    Args:
        scores: Shape (N, K), with further axes of size 1, or (N) for one score.

    Returns:
        K.

    Raises:
        ExportError: If it has another shape, or K is not fixed.
    """
    sizes = dimensions(scores)
    count = sizes[1] if len(sizes) > 1 else 1
    if not sizes or count is None or any(size != 1 for size in sizes[2:]):
        raise ExportError(
            f"expected scores of shape (N, K) with a fixed K, and {scores.name!r} has {scores.shape}"
        )
    if not element_type(scores).is_floating_point():
        raise ExportError(
            f"expected scores that are floating-point numbers, and {scores.name!r} holds {scores.dtype}"
        )
    return count
