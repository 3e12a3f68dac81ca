"""Weights that a forward and a backward operator both read.

The files hold each weight once: the weight of a backward operator is an expression over the forward weight,
which every engine turns into a constant when it loads the graph. It has to be a constant of its own. Where a
Conv and a ConvTranspose read one weight, of as many input as output channels, or two MatMul read one square
matrix, one of them transposed, OpenVINO 2026.4 computes wrong numbers without an error, a relative error of
about 1: it reuses one operator's prepacked weights for the other.
"""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions


def own_copy(builder: GraphBuilder, weight: ir.Value) -> ir.Value:
    """Append a copy of a forward weight as a constant of its own; this module's docstring says why.

    It is reversed twice: OpenVINO turns that into a new constant. It sees through an Identity, a product with
    one, two transpositions, two Reshapes and a Gather of everything, and then returns wrong numbers.
    """
    rows = [size for size in dimensions(weight)[:1] if size is not None]
    return reverse(builder, reverse(builder, weight, [0], rows), [0], rows)


def reverse(builder: GraphBuilder, value: ir.Value, axes: list[int], sizes: list[int]) -> ir.Value:
    """Append a value with some axes in reverse order.

    Args:
        axes: Which axes.
        sizes: Size of each of them.
    """
    steps = [-1] * len(axes)  # from the last entry, -1, down to before the first, which is -1 - size
    bounds = [builder.integers(values) for values in (steps, [-1 - size for size in sizes], axes, steps)]
    reversed_value = builder.op("Slice", [value, *bounds])
    reversed_value.shape = value.shape
    return reversed_value


def own_matrix(builder: GraphBuilder, matrix: ir.Value) -> ir.Value:
    """Return a matrix that a backward product may read: a copy of a square weight, anything else as it is."""
    rows, columns = dimensions(matrix)[-2:]
    if rows != columns or ir.convenience.get_const_tensor(matrix) is None:
        return matrix
    return own_copy(builder, matrix)
