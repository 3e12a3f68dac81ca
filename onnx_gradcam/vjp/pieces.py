"""Rules of operators that join values, or take a part of one."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import fixed_size, integers_of, optional, required
from onnx_gradcam.values import constant_of, dimensions
from onnx_gradcam.vjp.places import are_all_in_order
from onnx_gradcam.vjp.registry import Cotangents, rule, rule_of_all_outputs

_LARGEST_MATRIX = 1 << 22
"""Entries of the matrix of a selection, at most: 16 MB in the graph."""

_PAD_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@rule("Concat")
def concat(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y is x_0, x_1, ... one after the other: dl/dx_i is its part of g."""
    axis = node.attributes["axis"].as_int() % len(dimensions(node.outputs[0]))
    cotangents: Cotangents = {}
    start = 0
    for index in range(len(node.inputs)):
        size = fixed_size(node, required(node, index), axis)
        cotangents[index] = _slice(builder, g, [axis], [start], [start + size])
        start += size
    return cotangents


@rule_of_all_outputs("Split")
def split(builder: GraphBuilder, node: ir.Node, cotangents: Sequence[ir.Value | None]) -> Cotangents:
    """Where y_0, y_1, ... one after the other are x: dl/dx is g_0, g_1, ..., zeros for what is unused."""
    axis = node.attributes.get_int("axis", 0) % len(dimensions(required(node, 0)))
    parts = [
        _zeros_like(builder, y) if g is None else g for y, g in zip(node.outputs, cotangents, strict=True)
    ]
    return {0: builder.op("Concat", parts, {"axis": axis})}


@rule("Slice")
def slice_(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y is a part of x: dl/dx is g in its place, and 0 elsewhere."""
    x = required(node, 0)
    rank = len(dimensions(x))
    starts, ends = integers_of(node, 1, "starts"), integers_of(node, 2, "ends")
    axes = range(len(starts)) if optional(node, 3) is None else integers_of(node, 3, "axes")
    steps = [1] * len(starts) if optional(node, 4) is None else integers_of(node, 4, "steps")
    pads = [0] * 2 * rank
    for start, end, axis, step in zip(starts, ends, (axis % rank for axis in axes), steps, strict=True):
        if start == 0 and step == 1 and dimensions(x)[axis] == dimensions(node.outputs[0])[axis]:
            continue  # all of it
        size = fixed_size(node, x, axis)
        taken = np.arange(size)[slice(start, None if step < 0 and end < -size else end, step)]
        if step == 1:
            before = int(taken[0]) if taken.size else 0
            pads[axis], pads[rank + axis] = before, size - before - taken.size
        else:
            g = apply_matrix(builder, g, axis, rank, _selection(node, taken, size))
    return {0: builder.op("Pad", [g, builder.integers(pads)]) if any(pads) else g}


@rule("Gather")
def gather(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y is x at some places of an axis: dl/dx at a place is the sum of g wherever it was taken to.

    One place is a Pad, a few are a product with a matrix, all are a Reshape: every engine has these. Other
    places are scattered.
    """
    x = required(node, 0)
    rank = len(dimensions(x))
    axis = node.attributes.get_int("axis", 0) % rank
    size, indices = dimensions(x)[axis], constant_of(required(node, 1))
    if rank == 1 and indices is None and are_all_in_order(builder.graph, required(node, 1)):
        return {0: builder.reshape(g, [-1])}
    if size is None or indices is None or indices.size * size > _LARGEST_MATRIX:
        return {0: _scatter(builder, x, axis, required(node, 1), g)}
    if indices.ndim == 0:
        before = int(indices) % size
        pads = [0] * 2 * rank
        pads[axis], pads[rank + axis] = before, size - 1 - before
        g = builder.op("Unsqueeze", [g, builder.integers([axis])])
        return {0: builder.op("Pad", [g, builder.integers(pads)]) if any(pads) else g}
    if indices.ndim > 1:
        g = builder.op("Reshape", [g, _with_size(builder, x, axis, -1)])
    return {0: apply_matrix(builder, g, axis, rank, _selection(node, indices.reshape(-1) % size, size))}


@rule("GatherND")
def gather_nd(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """The rule of Gather, for places given by several indices each."""
    if node.attributes.get_int("batch_dims", 0):
        raise UnsupportedOperatorError(
            f"node {node.name!r} (GatherND) has batch_dims: there is a rule for none only"
        )
    x = required(node, 0)
    return {0: builder.op("ScatterND", [_zeros_like(builder, x), required(node, 1), g], {"reduction": "add"})}


@rule("Pad")
def pad(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y is x with a margin: dl/dx is g without it; what the margin repeats of x adds up."""
    x = required(node, 0)
    rank = len(dimensions(x))
    pads = integers_of(node, 1, "pads")
    axes = (
        list(range(rank))
        if optional(node, 3) is None
        else [axis % rank for axis in integers_of(node, 3, "axes")]
    )
    begin, end = pads[: len(axes)], pads[len(axes) :]
    mode = node.attributes.get_string("mode", "constant")
    if mode != "constant":
        for axis, before, after in zip(axes, begin, end, strict=True):
            if before or after:
                size = fixed_size(node, x, axis)
                kept = np.arange(size)[
                    max(-before, 0) : size + min(after, 0)
                ]  # a negative pad takes away, first
                added = (max(before, 0), max(after, 0))
                taken = np.pad(kept, added, mode=_PAD_MODES[mode])  # type: ignore[call-overload]
                g = apply_matrix(builder, g, axis, rank, _selection(node, taken, size))
        return {0: g}
    # A negative pad takes pixels away, and Pad does that too: with all signs turned it is its own inverse.
    turned = [0] * 2 * rank
    for axis, before, after in zip(axes, begin, end, strict=True):
        turned[axis], turned[rank + axis] = -before, -after
    return {0: _pad(builder, g, turned)}


def apply_matrix(
    builder: GraphBuilder, g: ir.Value, axis: int, rank: int, matrix: NDArray[np.floating]
) -> ir.Value:
    """Append the vector-Jacobian product of a linear map y = M x along one axis: dl/dx = M^T g.

    Args:
        g: Cotangent of y.
        axis: Which axis, 0 or more.
        rank: Number of axes.
        matrix: M, shape (size of y, size of x).

    Returns:
        Cotangent of x.
    """
    if axis == rank - 1 and rank > 1:
        return builder.op("MatMul", [g, builder.array_like(matrix, g)])
    transposed = builder.array_like(matrix.T, g)
    if axis == rank - 2 or rank == 1:
        return builder.op("MatMul", [transposed, g])
    perm = [*(other for other in range(rank) if other != axis), axis]
    last = builder.op("MatMul", [builder.op("Transpose", [g], {"perm": perm}), builder.array_like(matrix, g)])
    return builder.op("Transpose", [last], {"perm": [perm.index(place) for place in range(rank)]})


def _scatter(builder: GraphBuilder, x: ir.Value, axis: int, indices: ir.Value, g: ir.Value) -> ir.Value:
    """Append zeros of x's shape with each entry of g added at its place along an axis."""
    flat = builder.op("Reshape", [g, _with_size(builder, x, axis, -1)])
    row = builder.reshape(indices, [-1 if other == axis else 1 for other in range(len(dimensions(x)))])
    places = builder.op("Expand", [row, builder.op("Shape", [flat])])
    zeros = _zeros_like(builder, x)
    return builder.op("ScatterElements", [zeros, places, flat], {"axis": axis, "reduction": "add"})


def _with_size(builder: GraphBuilder, x: ir.Value, axis: int, size: int) -> ir.Value:
    """Append the shape of x with another size of one axis."""
    parts = [builder.shape(x, 0, axis), builder.integers([size]), builder.shape(x, axis + 1)]
    return builder.op("Concat", parts, {"axis": 0})


def _selection(node: ir.Node, taken: NDArray[np.integer], size: int) -> NDArray[np.floating]:
    """Return the matrix of y[k] = x[taken[k]]."""
    if taken.size * size > _LARGEST_MATRIX:
        raise UnsupportedOperatorError(
            f"node {node.name!r} ({node.op_type}) takes {taken.size:,} of {size:,} places: the rule writes a "
            f"matrix of at most {_LARGEST_MATRIX:,} entries"
        )
    matrix = np.zeros((taken.size, size), np.float32)
    matrix[np.arange(taken.size), taken] = 1
    return matrix


def _pad(builder: GraphBuilder, value: ir.Value, pads: list[int]) -> ir.Value:
    """Append a cut where a pad is negative, and then zeros where it is positive."""
    rank = len(pads) // 2
    cut = [axis for axis in range(rank) if pads[axis] < 0 or pads[rank + axis] < 0]
    if cut:
        last = np.iinfo(np.int64).max
        ends = [min(pads[rank + axis], 0) or last for axis in cut]
        value = _slice(builder, value, cut, [max(-pads[axis], 0) for axis in cut], ends)
    added = [max(pad, 0) for pad in pads]
    return builder.op("Pad", [value, builder.integers(added)]) if any(added) else value


def _slice(
    builder: GraphBuilder, value: ir.Value, axes: list[int], starts: list[int], ends: list[int]
) -> ir.Value:
    return builder.op("Slice", [value, *(builder.integers(numbers) for numbers in (starts, ends, axes))])


def _zeros_like(builder: GraphBuilder, value: ir.Value) -> ir.Value:
    return builder.op("Expand", [builder.number_like(0, value), builder.shape(value)])
