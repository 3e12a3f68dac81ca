"""Inputs that were repeated to fit the shape of an output."""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions


def sum_to(builder: GraphBuilder, cotangent: ir.Value, value: ir.Value, output: ir.Value) -> ir.Value:
    """Sum a cotangent of the output's shape over the axes along which an input was repeated.

    An axis whose size is not fixed, such as the batch, counts as not repeated.

    Args:
        cotangent: Cotangent of the output.
        value: The input.
        output: The node's output.

    Returns:
        Cotangent of the input, of its shape.
    """
    if value.shape == output.shape:
        return cotangent
    added = len(dimensions(output)) - len(dimensions(value))
    sizes = [1] * added + dimensions(value)
    repeated = [axis for axis, size in enumerate(sizes) if size == 1 and dimensions(output)[axis] != 1]
    if repeated:
        cotangent = builder.op("ReduceSum", [cotangent, builder.integers(repeated)], {"keepdims": 1})
    return builder.op("Reshape", [cotangent, builder.shape(value)]) if added else cotangent
