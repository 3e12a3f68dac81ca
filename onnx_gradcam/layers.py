"""The layers of a classifier that can be explained: spatial activations that the scores depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import ModelError, OptionError
from onnx_gradcam.layouts import Layout, find_layouts
from onnx_gradcam.nodes import integers_of, optional
from onnx_gradcam.values import constant_of, dimensions, is_floating, value_named


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
        """Append the activations, or their gradient, as maps (N, C, h, w).

        Args:
            value: The layer's value or its gradient.
        """
        return self.layout.to_maps(builder, value, self.channels)


def channels_first(value: ir.Value) -> Layer:
    """Return the layer of a value (N, C, h, w).

    Raises:
        OptionError: If it has another number of axes.
    """
    if len(dimensions(value)) != 4:
        raise OptionError(f"expected a layer of shape (N, C, h, w), and {value.name!r} has {value.shape}")
    return Layer(value, Layout.of_maps(value))


def find_layers(graph: ir.Graph, scores: ir.Value) -> list[Layer]:
    """Find what can be explained: maps of more than one pixel that the scores depend on.

    Args:
        graph: The classifier, with shapes.
        scores: What is explained.

    Returns:
        The layers in the order of the graph.
    """
    found = find_layouts(graph)
    needed = _ancestors(scores)
    used = _used_outside_prefix(graph, found, needed)
    return [
        Layer(value, found[value])
        for node in graph
        for value in node.outputs
        if value in found and value in needed and value in used and _is_a_map(value, found[value])
    ]


def last_layer(layers: Sequence[Layer]) -> Layer:
    """Choose the layer that Grad-CAM explains by custom: the last spatial one.

    In a vision transformer that is the last normalisation before an attention: after it, only the class token
    is read.

    Args:
        layers: From `find_layers`.

    Raises:
        ModelError: If there is none.
    """
    for layer in reversed(layers):
        if not layer.layout.has_tokens or layer.operator == "LayerNormalization":
            return layer
    raise ModelError(
        "no layer of the graph has a place in the image: expected a network with convolutions or pooling "
        "over more than one pixel, whose shapes can be inferred"
    )


def choose_layers(graph: ir.Graph, scores: ir.Value, names: Sequence[str]) -> list[Layer]:
    """Find layers by their names.

    Args:
        graph: The classifier, with shapes.
        scores: What is explained.
        names: Names of values, or "last".

    Raises:
        OptionError: If there is no such layer.
        ModelError: If "last" is asked for, and no layer is spatial.
    """
    known = {str(layer.value.name): layer for layer in find_layers(graph, scores)}
    return [
        last_layer(list(known.values()))
        if name == "last"
        else known[name]
        if name in known
        else channels_first(value_named(graph, name))
        for name in dict.fromkeys(names)
    ]


def _is_a_map(value: ir.Value, layout: Layout) -> bool:
    return is_floating(value) and layout.grid != (1, 1)


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
    graph: ir.Graph, found: Mapping[ir.Value, Layout], needed: set[ir.Value]
) -> set[ir.Value]:
    """Return the values of which the scores read more than a class token."""
    used: set[ir.Value] = set()
    for node in reversed(graph):
        for x in node.inputs:
            if x is not None and any(
                _reads_grid(node, x, found) and (y in used or y not in found)
                for y in node.outputs
                if y in needed
            ):
                used.add(x)
    return used


def _reads_grid(node: ir.Node, x: ir.Value, found: Mapping[ir.Value, Layout]) -> bool:
    """Tell whether a node reads more than the tokens before the grid's."""
    if x not in found or not found[x].prefix or node.op_type not in ("Gather", "Slice"):
        return True
    axis, prefix, rank = found[x].space[0], found[x].prefix, len(dimensions(x))
    if node.op_type == "Gather":
        indices = None if node.inputs[1] is None else constant_of(node.inputs[1])
        along = node.attributes.get_int("axis", 0) % rank == axis
        return not along or indices is None or bool((indices >= prefix).any() or (indices < 0).any())
    if optional(node, 3) is None or integers_of(node, 3, "axes") != [axis]:
        return True
    end = integers_of(node, 2, "ends")[0]
    return not 0 <= end <= prefix
