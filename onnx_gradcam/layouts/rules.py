"""Rules of the operators that move axes. x is the node's first input of known layout, y its output."""

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnx_gradcam.layouts.layout import Layout, fixed_grid
from onnx_gradcam.layouts.registry import LaidOut, layout_rule, same_axes
from onnx_gradcam.nodes import integers_of, optional
from onnx_gradcam.values import constant_of, dimensions


@layout_rule("Einsum", "Expand", "Flatten", "Gather", "Gemm", "Squeeze", "Tile", "Unsqueeze")
def other_axes(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """The axes of y are not those of x, and nothing says which they are."""
    return None


@layout_rule("Transpose")
def transpose(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """Axes move; height stays before width, and the batch stays first."""
    layout, rank = known[0].layout, len(dimensions(y))
    perm = list(node.attributes.get_ints("perm", list(reversed(range(rank)))))
    space = tuple(perm.index(axis) for axis in layout.space)
    if space != tuple(sorted(space)) or perm[0] != 0:
        return None
    return replace(layout, channel=perm.index(layout.channel), space=space)


@layout_rule("Reshape")
def reshape(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """A grid becomes a row of tokens, or a row a grid."""
    layout, before, after = known[0].layout, dimensions(known[0].value), dimensions(y)
    channels = before[layout.channel]
    if None in layout.grid or layout.prefix or channels is None:
        return layout if before == after and None not in before[1:] else None
    height, width = fixed_grid(layout)
    first = layout.channel == 1
    if before[1:] == after[1:]:
        return layout
    if after[1:] == ([channels, height, width] if first else [height, width, channels]):
        return replace(layout, channel=1 if first else 3, space=(2, 3) if first else (1, 2))
    if after[1:] == ([channels, height * width] if first else [height * width, channels]):
        return replace(layout, channel=1 if first else 2, space=(2,) if first else (1,))
    return None


@layout_rule("MatMul")
def matmul(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """A constant matrix on the right mixes channels where they are the last axis."""
    x, layout, rank = known[0].value, known[0].layout, len(dimensions(y))
    weight = node.inputs[1]
    if x is not node.inputs[0] or weight is None or constant_of(weight) is None:
        return None
    return layout if layout.channel == rank - 1 and len(dimensions(x)) == rank else None


@layout_rule("Slice")
def slice_(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """Tokens before those of the grid may be taken away."""
    x, layout = known[0].value, known[0].layout
    if not layout.has_tokens:
        return same_axes(node, y, known)
    (axis,) = layout.space
    length, result = dimensions(x)[axis], dimensions(y)[axis]
    if optional(node, 3) is None or integers_of(node, 3, "axes") != [axis]:
        return layout if length == result else None
    taken = integers_of(node, 1, "starts")[0]
    if length is None or result is None or taken + result != length or not 0 <= taken <= layout.prefix:
        return None
    return replace(layout, prefix=layout.prefix - taken)


@layout_rule("Concat")
def concat(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """Tokens may be put before those of the grid, such as a class token."""
    x, layout = known[0].value, known[0].layout
    if not layout.has_tokens:
        return same_axes(node, y, known)
    (axis,) = layout.space
    if node.attributes["axis"].as_int() % len(dimensions(y)) != axis:
        return layout
    if len(known) > 1 or node.inputs[-1] is not x:  # tokens after the grid's
        return None
    before = [dimensions(other)[axis] for other in node.inputs[:-1] if other is not None]
    if None in before:
        return None
    return replace(layout, prefix=layout.prefix + sum(size for size in before if size is not None))
