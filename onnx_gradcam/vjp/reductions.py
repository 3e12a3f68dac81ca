"""Rules of reductions: sums, means and extremes along axes."""

import math
from collections.abc import Sequence

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import integers_of, optional, required
from onnx_gradcam.values import dimensions, element_type
from onnx_gradcam.vjp.registry import Cotangents, rule


@rule("GlobalAveragePool")
def global_average_pool(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = mean of x over space: dl/dx = g / (number of pixels), the same at every pixel."""
    x = required(node, 0)
    return {0: _spread_mean(builder, x, g, range(2, len(dimensions(x))))}


@rule("GlobalMaxPool")
def global_max_pool(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = max of x over space: dl/dx = g [x = y], shared evenly by those that are equal."""
    x = required(node, 0)
    return {0: _to_extremum(builder, x, node.outputs[0], g, range(2, len(dimensions(x))))}


@rule("ReduceMean")
def reduce_mean(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = mean of x over axes: dl/dx = g / (number of elements averaged), the same along these axes."""
    x = required(node, 0)
    axes = reduced_axes(node)
    return {0: _spread_mean(builder, x, g, axes) if axes else g}


@rule("ReduceSum")
def reduce_sum(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = sum of x over axes: dl/dx = g, the same along these axes."""
    x = required(node, 0)
    axes = reduced_axes(node)
    return {0: builder.op("Expand", [_keep(builder, g, x, axes), builder.shape(x)]) if axes else g}


@rule("ReduceMax", "ReduceMin")
def reduce_extremum(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = max of x over axes: dl/dx = g [x = y], shared evenly by those that are equal."""
    return {0: _to_extremum(builder, required(node, 0), node.outputs[0], g, reduced_axes(node))}


@rule("ReduceL1")
def reduce_l1(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = sum of |x|: dl/dx = g sign(x)."""
    x = required(node, 0)
    return {0: _keep(builder, g, x, reduced_axes(node)) * builder.op("Sign", [x])}


@rule("ReduceL2")
def reduce_l2(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = sqrt(sum of x^2): dl/dx = g x / y, and 0 where y is 0."""
    x, y = required(node, 0), node.outputs[0]
    one_for_zero = y + (1 - builder.where_positive(y))  # x is 0 there
    return {0: x * _keep(builder, g / one_for_zero, x, reduced_axes(node))}


@rule("ReduceSumSquare")
def reduce_sum_square(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = sum of x^2: dl/dx = 2 g x."""
    x = required(node, 0)
    return {0: 2 * x * _keep(builder, g, x, reduced_axes(node))}


@rule("ReduceLogSumExp")
def reduce_log_sum_exp(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = ln(sum of e^x): dl/dx = g e^(x - y)."""
    x, axes = required(node, 0), reduced_axes(node)
    y = _keep(builder, node.outputs[0], x, axes)
    return {0: _keep(builder, g, x, axes) * builder.op("Exp", [x - y])}


def reduced_axes(node: ir.Node) -> list[int]:
    """Return the axes of a reduction in order, each 0 or more.

    They are an attribute or an input. Left out or empty, they are all axes, or none.

    Raises:
        UnsupportedOperatorError: If they are computed when the graph runs.
    """
    rank = len(dimensions(required(node, 0)))
    axes: Sequence[int] = []
    if "axes" in node.attributes:
        axes = node.attributes["axes"].as_ints()
    elif optional(node, 1) is not None:
        axes = integers_of(node, 1, "axes")
    if not axes and not node.attributes.get_int("noop_with_empty_axes", 0):
        axes = range(rank)
    return sorted(axis % rank for axis in axes)


def mean_over(builder: GraphBuilder, value: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Append the mean along axes, which stay with size 1."""
    return builder.op("ReduceMean", [value, builder.integers(axes)], {"keepdims": 1})


def _keep(builder: GraphBuilder, value: ir.Value, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Append the value with the axes of x that a reduction removed, of size 1."""
    if not axes or (value.shape is not None and len(dimensions(value)) == len(dimensions(x))):
        return value
    return builder.op("Reshape", [value, _kept_shape(builder, x, axes)])


def _kept_shape(builder: GraphBuilder, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    sizes = dimensions(x)
    kept = [1 if axis in axes else size for axis, size in enumerate(sizes)]
    if None not in kept:
        return builder.integers([size for size in kept if size is not None])
    if kept.count(None) == 1:
        return builder.integers([-1 if size is None else size for size in kept])
    ones = builder.integers([1])
    parts = [ones if axis in axes else builder.shape(x, axis, axis + 1) for axis in range(len(sizes))]
    return builder.op("Concat", parts, {"axis": 0})


def _spread_mean(builder: GraphBuilder, x: ir.Value, g: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Append g divided by the number of elements along the axes, repeated along them to the shape of x.

    The Expand comes last: its input is the mean over the axes, for whoever wants that.
    """
    kept = [1 if axis in axes else size for axis, size in enumerate(dimensions(x))]
    if len(dimensions(g)) != len(kept):
        g = builder.op("Unsqueeze", [g, builder.integers(axes)])
    mean = builder.op("Div", [g, _count(builder, x, axes)])
    mean.shape = ir.Shape(kept)
    return builder.op("Expand", [mean, builder.shape(x)])


def _count(builder: GraphBuilder, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Append the number of elements along the axes, in x's element type."""
    sizes = [dimensions(x)[axis] for axis in axes]
    if None not in sizes:
        return builder.number_like(math.prod(size for size in sizes if size is not None), x)
    lengths = builder.op("Gather", [builder.op("Shape", [x]), builder.integers(axes)])
    count = builder.op("ReduceProd", [lengths], {"keepdims": 0})
    return builder.cast(count, element_type(x))


def _to_extremum(
    builder: GraphBuilder, x: ir.Value, y: ir.Value, g: ir.Value, axes: Sequence[int]
) -> ir.Value:
    mask = builder.where_equal(x, _keep(builder, y, x, axes), like=g)
    ties = builder.op("ReduceSum", [mask, builder.integers(axes)], {"keepdims": 1}) if axes else mask
    result: ir.Value = mask * (_keep(builder, g, x, axes) / ties)
    return result
