"""What a layout rule is, which there are, and what they find in a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnx_gradcam.layouts.layout import Layout
from onnx_gradcam.values import dimensions


@dataclass(frozen=True)
class LaidOut:
    """An input whose layout is known."""

    value: ir.Value
    """The input."""
    layout: Layout
    """Its layout."""


LayoutRule = Callable[[ir.Node, ir.Value, Sequence[LaidOut]], Layout | None]
"""(node, one of its outputs, its inputs of known layout, at least one) -> layout of the output, None where
it does not follow."""

LAYOUT_RULES: dict[str, LayoutRule] = {}
"""Rule of each operator that moves axes; all others leave them as they are."""

CHANNELS_FIRST = frozenset(
    {
        "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
        "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN", "MaxPool", "SpaceToDepth",
    }
)  # fmt: skip
"""Operators that are defined for (N, C, h, w) only: here layouts start."""


def layout_rule(*operators: str) -> Callable[[LayoutRule], LayoutRule]:
    """Register a function as the rule of these operators."""

    def register(function: LayoutRule) -> LayoutRule:
        LAYOUT_RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def find_layouts(graph: ir.Graph) -> dict[ir.Value, Layout]:
    """Find the layout of each value for which it follows from the operators.

    Args:
        graph: The classifier, with shapes.
    """
    layouts: dict[ir.Value, Layout] = {}
    for node in graph:
        for value in node.outputs:
            layout = _layout_of(node, value, layouts) if value.shape is not None else None
            if layout is not None:
                layouts[value] = layout
    for node in graph:  # what a convolution or pooling reads has the layout of what it writes
        x = node.inputs[0] if node.inputs else None
        if node.op_type not in CHANNELS_FIRST or x is None or x.producer() is None:
            continue
        if x not in layouts and x.shape is not None and len(x.shape) == 4:
            layouts[x] = Layout.of_maps(x)
    return layouts


def _layout_of(node: ir.Node, value: ir.Value, layouts: dict[ir.Value, Layout]) -> Layout | None:
    if node.op_type in CHANNELS_FIRST and len(dimensions(value)) == 4:
        return Layout.of_maps(value)
    known = [
        LaidOut(x, layouts[x]) for x in node.inputs if x is not None and x in layouts and x.shape is not None
    ]
    return LAYOUT_RULES.get(node.op_type, same_axes)(node, value, known) if known else None


def same_axes(node: ir.Node, y: ir.Value, known: Sequence[LaidOut]) -> Layout | None:
    """Keep the layout where y has as many axes as x; the grid of pixels is y's own."""
    x, layout = known[0].value, known[0].layout
    before, after = dimensions(x), dimensions(y)
    if len(before) != len(after):
        return None
    if layout.has_tokens:
        return layout if after[layout.space[0]] == before[layout.space[0]] else None
    return replace(layout, grid=(after[layout.space[0]], after[layout.space[1]]))
