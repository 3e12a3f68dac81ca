"""A graph in float16, its delicate parts in float32.

Convolutions, and what lies between them, compute in float16. Sums (the products with alpha, reductions),
pooling to one pixel, the heads, the interpolation and scaling of heatmaps stay in float32: a float16 holds
eleven bits and nothing above 65,504. All types are written into the graph, which is what strongly typed
engines want.
"""

import onnx_ir as ir

from export.batch_norm import absorb_batch_norm
from export.trace import finish
from onnx_gradcam.builder import GraphBuilder

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
"""Operators that compute in float16 whatever they are given."""

_FOLLOWING = frozenset({"Relu", "Clip", "MaxPool", "Add", "Mul", "Concat", "Resize", "Slice", "Pad"})
"""Operators that compute in float16 where one of their inputs comes from another float16 operator."""

_COMPARISONS = frozenset({"Greater", "Less"})
"""Operators that read float16 there, and return a boolean."""


def to_float16(model: ir.Model) -> ir.Model:
    """Copy a float32 component in float16; its inputs and outputs stay float32.

    Args:
        model: An encoder with its Grad-CAM, a decoder or the fusion head; it stays as it is.

    Returns:
        The copy.
    """
    model = model.clone()
    graph = model.graph
    absorb_batch_norm(graph)
    caster = _Caster(graph)
    depending = set(graph.inputs)  # what an input leads to; all else is computed once, at load, in float32
    half: set[ir.Value] = set()
    for node in list(graph):
        if depending.isdisjoint(value for value in node.inputs if value is not None):
            continue
        depending.update(node.outputs)
        if node.op_type in _COMPARISONS and any(value in half for value in node.inputs):
            caster.inputs_to(node, ir.DataType.FLOAT16)
        elif _is_half(node, half):
            caster.inputs_to(node, ir.DataType.FLOAT16)
            half.update(_mark(node, ir.DataType.FLOAT16))
        elif node.op_type != "Cast":
            caster.inputs_to(node, ir.DataType.FLOAT)
    for index, output in enumerate(graph.outputs):
        if output in half:
            name, output.name = output.name, None
            graph.outputs[index] = caster.cast(output, ir.DataType.FLOAT)
            graph.outputs[index].name = name
    return finish(model)


def _is_half(node: ir.Node, half: set[ir.Value]) -> bool:
    if node.op_type in _CONVOLUTIONS:
        return True
    if node.op_type == "Cast":  # the mask of a ReLU, zeros and ones
        return node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.BOOL
    if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") != "nearest":
        return False
    return node.op_type in _FOLLOWING and any(value in half for value in node.inputs)


def _mark(node: ir.Node, dtype: ir.DataType) -> list[ir.Value]:
    if node.op_type == "Cast":
        node.attributes["to"] = ir.AttrInt64("to", int(dtype))
    for output in node.outputs:
        output.type = ir.TensorType(dtype)  # never .dtype, which would change the type that copies share
    return list(node.outputs)


class _Caster:
    """Casts each value once, right behind the node that computes it."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def inputs_to(self, node: ir.Node, dtype: ir.DataType) -> None:
        """Make a node read floating-point values of one type."""
        other = {ir.DataType.FLOAT16: ir.DataType.FLOAT, ir.DataType.FLOAT: ir.DataType.FLOAT16}[dtype]
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype != other or (node.op_type == "Resize" and index > 0):
                continue
            node.replace_input_with(index, self.cast(value, dtype))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another type."""
        key = (value, dtype)
        if key not in self._casts:
            builder = GraphBuilder(self._graph)
            result = builder.op("Cast", [value], {"to": int(dtype)})
            result.shape, result.type = value.shape, ir.TensorType(dtype)
            node, producer = result.producer(), value.producer()
            assert node is not None, "the builder made it"
            self._graph.remove(node)
            if producer is None:
                self._graph.insert_before(self._graph[0], node)
            else:
                self._graph.insert_after(producer, node)
            self._casts[key] = result
        return self._casts[key]
