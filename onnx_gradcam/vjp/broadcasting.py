"""What rules share: inputs that were repeated, and axes."""

import onnx_ir as ir

from biounet_edge.errors import ExportError
from onnx_gradcam.builder import GraphBuilder, constant_of, dimensions


def required(node: ir.Node, index: int) -> ir.Value:
    """Gives an input that the operator requires.

    Args:
        node: The node.
        index: Place of the input.

    Returns:
        The input.

    Raises:
        ExportError: If the node lacks it.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ExportError(f"node {node.name!r} ({node.op_type}) lacks input {index}: the graph is damaged")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Gives an input that may be missing.

    Args:
        node: The node.
        index: Place of the input.

    Returns:
        The input or None.
    """
    return node.inputs[index] if index < len(node.inputs) else None


def integers_of(node: ir.Node, index: int, what: str) -> list[int]:
    """Reads an input of integers, such as axes, that has to be a constant.

    Args:
        node: The node.
        index: Place of the input, which is there.
        what: What it holds, for the message.

    Returns:
        The integers.

    Raises:
        ExportError: If they are computed when the graph runs.
    """
    array = constant_of(required(node, index))
    if array is None:
        raise ExportError(
            f"the {what} of node {node.name!r} ({node.op_type}) are computed: expected a constant"
        )
    return [int(number) for number in array.reshape(-1)]


def fixed_size(node: ir.Node, value: ir.Value, axis: int) -> int:
    """Gives a size that has to be fixed.

    Args:
        node: The node whose rule needs it.
        value: Input or output of the node.
        axis: The axis.

    Returns:
        The size.

    Raises:
        ExportError: If it is not fixed.
    """
    size = dimensions(value)[axis]
    if size is None:
        raise ExportError(
            f"axis {axis} of {value.name!r} is not fixed, and the rule of node {node.name!r} "
            f"({node.op_type}) needs its size: expected a graph with a fixed height and width"
        )
    return size


def sum_to(builder: GraphBuilder, cotangent: ir.Value, value: ir.Value, output: ir.Value) -> ir.Value:
    """Sums a cotangent of the output's shape over the axes along which an input was repeated.

    A size that is not fixed, such as that of the batch, is taken for one that was not repeated.

    Args:
        builder: Builder on the graph.
        cotangent: Of the output's shape.
        value: The input.
        output: The node's output.

    Returns:
        Cotangent of the input's shape.
    """
    if value.shape == output.shape:
        return cotangent
    added = len(dimensions(output)) - len(dimensions(value))
    sizes = [1] * added + dimensions(value)
    repeated = [axis for axis, size in enumerate(sizes) if size == 1 and dimensions(output)[axis] != 1]
    if repeated:
        cotangent = builder.op("ReduceSum", [cotangent, builder.integers(repeated)], {"keepdims": 1})
    return builder.op("Reshape", [cotangent, builder.shape(value)]) if added else cotangent
