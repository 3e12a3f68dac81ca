"""The layers of a classifier that have a place in the image, and which of their axes are what.

An ONNX graph does not say which axes are height and width. It follows from the operators: a Conv writes
(N, C, h, w), a Transpose moves axes, a Reshape may flatten a grid to tokens, most operators leave all as it
is. So networks that compute channels last, as those from TensorFlow do in parts, and vision transformers
have layers that can be explained, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from biounet_edge.errors import ExportError
from onnx_gradcam.builder import GraphBuilder, constant_of, dimensions
from onnx_gradcam.vjp.broadcasting import integers_of, optional


@dataclass(frozen=True)
class Layout:
    """Which axes of a value are what; axis 0 is the batch."""

    channel: int
    """Axis of the channels."""
    space: tuple[int, ...]
    """Axes of height and width, or the one axis of the tokens."""
    grid: tuple[int | None, int | None]
    """Height and width in pixels or tokens, None where not fixed."""
    prefix: int = 0
    """Tokens in front of those of the grid, such as a class token."""

    @property
    def has_tokens(self) -> bool:
        """Whether height and width are one axis."""
        return len(self.space) == 1

    def to_maps(self, builder: GraphBuilder, value: ir.Value, channels: int | None) -> ir.Value:
        """Appends the value as (N, C, h, w); nothing where it is that already.

        Args:
            builder: Builder on the graph.
            value: Value of this layout.
            channels: C, None where not fixed.

        Returns:
            Maps, shape (N, C, h, w).
        """
        if self.prefix:
            bounds = ([self.prefix], [self.prefix + math.prod(fixed_grid(self))], list(self.space))
            value = builder.op("Slice", [value, *(builder.integers(numbers) for numbers in bounds)])
        perm = [0, self.channel, *self.space]
        if perm != sorted(perm):
            value = builder.op("Transpose", [value], {"perm": perm})
        if self.has_tokens:
            value = builder.reshape(value, [0, 0, *fixed_grid(self)])
        value.shape = ir.Shape([value.shape[0] if value.shape else None, channels, *self.grid])
        return value


@dataclass(frozen=True)
class Layer:
    """A value that can be explained."""

    value: ir.Value
    """The activations."""
    layout: Layout
    """Which of its axes are what."""

    @property
    def channels(self) -> int | None:
        """Number of channels, None where not fixed."""
        return dimensions(self.value)[self.layout.channel]

    @property
    def operator(self) -> str:
        """Operator that computes it."""
        node = self.value.producer()
        return "" if node is None else node.op_type

    def maps(self, builder: GraphBuilder, value: ir.Value) -> ir.Value:
        """Appends the activations, or their gradient, as (N, C, h, w).

        Args:
            builder: Builder on the graph.
            value: The layer's value or its gradient.

        Returns:
            Maps.
        """
        return self.layout.to_maps(builder, value, self.channels)


def channels_first(value: ir.Value) -> Layer:
    """Takes a value for (N, C, h, w).

    Args:
        value: A value of four axes.

    Returns:
        The layer.

    Raises:
        ExportError: If it has another number of axes.
    """
    sizes = dimensions(value)
    if len(sizes) != 4:
        raise ExportError(f"expected a layer of shape (N, C, h, w), and {value.name!r} has {value.shape}")
    return Layer(value, Layout(1, (2, 3), (sizes[2], sizes[3])))


def find_layers(graph: ir.Graph, scores: ir.Value) -> list[Layer]:
    """Finds what can be explained: maps of more than one pixel that the scores depend on.

    Args:
        graph: The classifier, with shapes.
        scores: What is explained.

    Returns:
        The layers in the order of the graph.
    """
    layouts = find_layouts(graph)
    needed = _ancestors(scores)
    used = _used_outside_prefix(graph, layouts, needed)
    return [
        Layer(value, layouts[value])
        for node in graph
        for value in node.outputs
        if value in layouts and value in needed and value in used and _is_a_map(value, layouts[value])
    ]


def last_layer(layers: list[Layer]) -> Layer:
    """Chooses the layer that Grad-CAM explains by custom: the last one with a place in the image.

    In a vision transformer that is the last normalisation in front of an attention: behind it, only the class
    token is read.

    Args:
        layers: From `find_layers`.

    Returns:
        One of them.

    Raises:
        ExportError: If there is none.
    """
    for layer in reversed(layers):
        if not layer.layout.has_tokens or layer.operator == "LayerNormalization":
            return layer
    raise ExportError(
        "no layer of the graph has a place in the image: expected a network with convolutions or pooling "
        "over more than one pixel, whose shapes can be inferred"
    )


def find_layouts(graph: ir.Graph) -> dict[ir.Value, Layout]:
    """Finds for each value which of its axes are what, where that follows from the operators.

    Args:
        graph: The classifier, with shapes.

    Returns:
        Layout by value.
    """
    layouts: dict[ir.Value, Layout] = {}
    for node in graph:
        for value in node.outputs:
            layout = _layout_of(node, value, layouts) if value.shape is not None else None
            if layout is not None:
                layouts[value] = layout
    for node in graph:  # what a convolution or pooling reads is laid out as what it writes
        x = node.inputs[0] if node.inputs else None
        if node.op_type not in _CHANNELS_FIRST or x is None or x.producer() is None:
            continue
        if x not in layouts and x.shape is not None and len(x.shape) == 4:
            layouts[x] = channels_first(x).layout
    return layouts


_CHANNELS_FIRST = frozenset(
    {
        "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
        "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN", "MaxPool", "SpaceToDepth",
    }
)  # fmt: skip
"""Operators that are defined for (N, C, h, w) only."""

_REARRANGING = frozenset({"Einsum", "Expand", "Flatten", "Gather", "Gemm", "Squeeze", "Tile", "Unsqueeze"})
"""Operators whose output axes are not those of their input."""


def _layout_of(node: ir.Node, value: ir.Value, layouts: Mapping[ir.Value, Layout]) -> Layout | None:
    sizes = dimensions(value)
    if node.op_type in _CHANNELS_FIRST and len(sizes) == 4:
        return channels_first(value).layout
    known = [x for x in node.inputs if x is not None and x in layouts and x.shape is not None]
    if not known or node.op_type in _REARRANGING:
        return None
    x, layout = known[0], layouts[known[0]]
    match node.op_type:
        case "Transpose":
            perm = list(node.attributes.get_ints("perm", list(reversed(range(len(sizes))))))
            axes = tuple(perm.index(axis) for axis in layout.space)
            turned = axes != tuple(sorted(axes))
            moved = replace(layout, channel=perm.index(layout.channel), space=axes)
            return None if turned or perm[0] != 0 else moved
        case "Reshape":
            return _reshaped(layout, dimensions(x), sizes)
        case "MatMul":
            constant = node.inputs[1] is not None and constant_of(node.inputs[1]) is not None
            last = layout.channel == len(sizes) - 1 and len(dimensions(x)) == len(sizes)
            return layout if constant and last and x is node.inputs[0] else None
        case "Concat" | "Slice" if layout.has_tokens:
            return _with_prefix(node, layout, x, value, known)
        case _:
            if len(sizes) != len(dimensions(x)):
                return None
            if layout.has_tokens:
                return layout if sizes[layout.space[0]] == dimensions(x)[layout.space[0]] else None
            return replace(layout, grid=(sizes[layout.space[0]], sizes[layout.space[1]]))


def _reshaped(layout: Layout, before: list[int | None], after: list[int | None]) -> Layout | None:
    """A Reshape that makes a row of tokens of a grid, or a grid of a row."""
    channels, grid = before[layout.channel], layout.grid
    if None in grid or layout.prefix or channels is None:
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


def _with_prefix(
    node: ir.Node, layout: Layout, x: ir.Value, value: ir.Value, known: list[ir.Value]
) -> Layout | None:
    """A Concat that puts tokens in front of the grid's, or a Slice that takes them away."""
    axis = layout.space[0]
    if node.op_type == "Slice":
        if optional(node, 3) is None or integers_of(node, 3, "axes") != [axis]:
            return layout if dimensions(x)[axis] == dimensions(value)[axis] else None
        taken = integers_of(node, 1, "starts")[0]
        length, result = dimensions(x)[axis], dimensions(value)[axis]
        if length is None or result is None or taken + result != length or not 0 <= taken <= layout.prefix:
            return None
        return replace(layout, prefix=layout.prefix - taken)
    if node.attributes["axis"].as_int() % len(dimensions(value)) != axis:
        return layout
    if len(known) > 1 or node.inputs[-1] is not x:  # tokens behind the grid's
        return None
    before = [dimensions(other)[axis] for other in node.inputs[:-1] if other is not None]
    if None in before:
        return None
    return replace(layout, prefix=layout.prefix + sum(size for size in before if size is not None))


def fixed_grid(layout: Layout) -> tuple[int, int]:
    """Gives height and width, which tokens have.

    Args:
        layout: A layout whose grid is fixed.

    Returns:
        (height, width).
    """
    height, width = layout.grid
    assert height is not None, "a grid of tokens is fixed"
    assert width is not None, "a grid of tokens is fixed"
    return height, width


def _is_a_map(value: ir.Value, layout: Layout) -> bool:
    height, width = layout.grid
    floating = value.dtype is not None and value.dtype.is_floating_point()
    return floating and not (height == 1 and width == 1)


def _ancestors(value: ir.Value) -> set[ir.Value]:
    found: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        node = current.producer()
        if node is not None:
            waiting.extend(x for x in node.inputs if x is not None)
    return found


def _used_outside_prefix(
    graph: ir.Graph, layouts: Mapping[ir.Value, Layout], needed: set[ir.Value]
) -> set[ir.Value]:
    """Values of which the scores read more than a class token."""
    used: set[ir.Value] = set()
    for node in reversed(graph):
        for x in node.inputs:
            if x is not None and any(
                _reads_grid(node, x, y, layouts) and (y in used or y not in layouts)
                for y in node.outputs
                if y in needed
            ):
                used.add(x)
    return used


def _reads_grid(node: ir.Node, x: ir.Value, y: ir.Value, layouts: Mapping[ir.Value, Layout]) -> bool:
    """Whether a node reads more than the tokens in front of the grid's."""
    if x not in layouts or not layouts[x].prefix or node.op_type not in ("Gather", "Slice"):
        return True
    axis, prefix, rank = layouts[x].space[0], layouts[x].prefix, len(dimensions(x))
    if node.op_type == "Gather":
        indices = None if node.inputs[1] is None else constant_of(node.inputs[1])
        along = node.attributes.get_int("axis", 0) % rank == axis
        return not along or indices is None or bool((indices >= prefix).any() or (indices < 0).any())
    if optional(node, 3) is None or integers_of(node, 3, "axes") != [axis]:
        return True
    end = integers_of(node, 2, "ends")[0]
    return not 0 <= end <= prefix
