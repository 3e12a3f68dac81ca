"""What rules ask of a node: its inputs, and sizes and integers that have to be fixed."""

import onnx_ir as ir

from onnx_gradcam.errors import ModelError, UnsupportedOperatorError
from onnx_gradcam.values import constant_of, dimensions


def required(node: ir.Node, index: int) -> ir.Value:
    """Return an input that the operator requires.

    Raises:
        ModelError: If the node lacks it.
    """
    value = optional(node, index)
    if value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) lacks input {index}: the graph is damaged")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, or None where the node leaves it out."""
    return node.inputs[index] if index < len(node.inputs) else None


def integers_of(node: ir.Node, index: int, what: str) -> list[int]:
    """Read a required input of integers, such as axes, that has to be a constant.

    Args:
        index: Which input.
        what: What it holds, for the message.

    Raises:
        UnsupportedOperatorError: If they are computed when the graph runs.
    """
    array = constant_of(required(node, index))
    if array is None:
        raise UnsupportedOperatorError(
            f"the {what} of node {node.name!r} ({node.op_type}) are computed: expected a constant"
        )
    return [int(number) for number in array.reshape(-1)]


def fixed_size(node: ir.Node, value: ir.Value, axis: int) -> int:
    """Return a size that has to be fixed.

    Args:
        node: The node whose rule needs it.
        value: Input or output of the node.
        axis: Which size.

    Raises:
        UnsupportedOperatorError: If it is not fixed.
    """
    size = dimensions(value)[axis]
    if size is None:
        raise UnsupportedOperatorError(
            f"axis {axis} of {value.name!r} is not fixed, and the rule of node {node.name!r} "
            f"({node.op_type}) needs its size: expected a graph with a fixed height and width"
        )
    return size
