"""Rules of normalisation.

Most subtract a mean m and divide by a deviation s, each over some axes, and scale: y = w (x - m) / s + b.
With x^ = (x - m) / s and c = w g, Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, give

    dl/dx = (c - mean(c) - x^ mean(c x^)) / s                           means over the axes of m and s
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import fixed_size, required
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.reductions import mean_over
from onnx_gradcam.vjp.registry import Cotangents, rule
from onnx_gradcam.vjp.transposed import channel_scale, scale_channels


@rule("BatchNormalization")
def batch_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = (x - mean) s + bias with s = scale / sqrt(var + epsilon) of each channel: dl/dx = g s.

    Where a Conv computes x, its rule moves s into its weight, and this multiplication is not needed.
    """
    if node.attributes.get_int("training_mode", 0):
        raise UnsupportedOperatorError(
            f"node {node.name!r} (BatchNormalization) is in training mode: export in evaluation mode"
        )
    return {0: scale_channels(builder, g, channel_scale(builder, node))}


@rule("LayerNormalization")
def layer_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Mean and deviation over the last axes; w has their shape."""
    x, weight = required(node, 0), required(node, 1)
    rank = len(dimensions(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    return {0: _standardised(builder, x, g * weight, axes, node.attributes.get_float("epsilon", 1e-5))}


@rule("RMSNormalization")
def rms_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = w x / s with s = sqrt(mean(x^2) + epsilon): dl/dx = (w g - (x / s) mean(w g x / s)) / s."""
    x, weight = required(node, 0), required(node, 1)
    rank = len(dimensions(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    s = builder.op("Sqrt", [mean_over(builder, x * x, axes) + epsilon])
    c, unit = g * weight, x / s
    return {0: (c - unit * mean_over(builder, c * unit, axes)) / s}


@rule("InstanceNormalization")
def instance_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Mean and deviation over space, for each image and channel; w has one entry per channel."""
    x, weight = required(node, 0), required(node, 1)
    axes = range(2, len(dimensions(x)))
    c = g * builder.reshape(weight, [-1] + [1] * len(axes))
    return {0: _standardised(builder, x, c, axes, node.attributes.get_float("epsilon", 1e-5))}


@rule("GroupNormalization")
def group_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Mean and deviation over space and the channels of a group; w has one entry per channel.

    Up to operator set 20 it has one per group.
    """
    x, weight = required(node, 0), required(node, 1)
    groups = node.attributes.get_int("num_groups", 1)
    space = len(dimensions(x)) - 2
    channels = fixed_size(node, x, 1)
    if dimensions(weight) == [groups] and groups != channels:
        weight = builder.op(
            "Expand", [builder.reshape(weight, [-1, 1]), builder.integers([1, channels // groups])]
        )
    c = g * builder.reshape(weight, [-1] + [1] * space)
    of_x, of_c = (
        builder.reshape(value, [0, groups, -1]) for value in (x, c)
    )  # (N, groups, C / groups * h * w)
    result = _standardised(builder, of_x, of_c, [2], node.attributes.get_float("epsilon", 1e-5))
    return {0: builder.op("Reshape", [result, builder.shape(x)])}


@rule("LpNormalization")
def lp_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x / s with s = sum of |x| or sqrt(sum of x^2): dl/dx = (g - n sum of g y) / s.

    n is ds/dx: sign(x) or y.
    """
    x, y = required(node, 0), node.outputs[0]
    axes = builder.integers([node.attributes.get_int("axis", -1)])
    order = node.attributes.get_int("p", 2)
    s = builder.op(f"ReduceL{order}", [x, axes], {"keepdims": 1})
    n = y if order == 2 else builder.op("Sign", [x])
    return {0: (g - n * builder.op("ReduceSum", [g * y, axes], {"keepdims": 1})) / s}


@rule("LRN")
def local_response_normalization(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x s^-beta with s = bias + (alpha / size) sum of x^2 over neighbouring channels.

    dl/dx = g s^-beta - (2 alpha beta / size) x sum of (g x s^(-beta - 1)), over the channels that x is a
    neighbour of.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012, 3.3
    """
    x = required(node, 0)
    size = node.attributes.get_int("size", 1)
    alpha = node.attributes.get_float("alpha", 1e-4) / size
    beta = node.attributes.get_float("beta", 0.75)
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    s = node.attributes.get_float("bias", 1.0) + alpha * _sum_of_neighbours(
        builder, node, x * x, before, after
    )
    direct = g * builder.op("Pow", [s, builder.number_like(-beta, x)])
    shared = _sum_of_neighbours(builder, node, direct * x / s, after, before)
    return {0: direct - (2 * alpha * beta) * x * shared}


def _standardised(
    builder: GraphBuilder, x: ir.Value, c: ir.Value, axes: Sequence[int], epsilon: float
) -> ir.Value:
    """Append dl/dx of this module's docstring."""
    centred = x - mean_over(builder, x, axes)
    s = builder.op("Sqrt", [mean_over(builder, centred * centred, axes) + epsilon])
    unit = centred / s
    result: ir.Value = (c - mean_over(builder, c, axes) - unit * mean_over(builder, c * unit, axes)) / s
    return result


def _sum_of_neighbours(
    builder: GraphBuilder, node: ir.Node, value: ir.Value, before: int, after: int
) -> ir.Value:
    """Append the sum of each channel with its neighbours: a product with a band of ones."""
    channels = fixed_size(node, required(node, 0), 1)
    place = np.arange(channels)
    distance = place[None, :] - place[:, None]
    band = (-before <= distance) & (distance <= after)
    flat = builder.reshape(value, [0, channels, -1])  # (N, C, h w)
    summed = builder.op("MatMul", [builder.array_like(band, value), flat])
    return builder.op("Reshape", [summed, builder.shape(required(node, 0))])
