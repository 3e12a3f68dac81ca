"""Weights that a forward and a backward operator both read.

The files hold each weight once: what a backward operator needs is an expression over the forward weight,
which every engine folds to a constant when it loads the graph. It has to be a constant of its own. Where a
Conv and a ConvTranspose read one weight, of as many input as output channels, or two MatMul read one square
matrix, one of them transposed, OpenVINO 2026.4 computes wrong numbers without an error, a relative error of
about 1: it takes what it has prepared for the one for the other.
"""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder, dimensions


def own_copy(builder: GraphBuilder, weight: ir.Value) -> ir.Value:
    """Appends the same numbers as a constant of their own, for the reason in this module's docstring.

    Reversed twice: OpenVINO folds that to a new constant. It sees through an Identity, a product with one,
    two transpositions, two Reshapes and a Gather of everything, and then returns wrong numbers.

    Args:
        builder: Builder on the graph.
        weight: Weight of a forward operator.

    Returns:
        Its copy.
    """
    rows = [size for size in dimensions(weight)[:1] if size is not None]
    return reverse(builder, reverse(builder, weight, [0], rows), [0], rows)


def reverse(builder: GraphBuilder, value: ir.Value, axes: list[int], sizes: list[int]) -> ir.Value:
    """Turns axes around: from the last entry, -1, down to before the first, which is -1 - size.

    Args:
        builder: Builder on the graph.
        value: A value.
        axes: The axes.
        sizes: Their sizes.

    Returns:
        The value with these axes in reverse order.
    """
    steps = [-1] * len(axes)
    bounds = [builder.integers(values) for values in (steps, [-1 - size for size in sizes], axes, steps)]
    reversed_value = builder.op("Slice", [value, *bounds])
    reversed_value.shape = value.shape
    return reversed_value


def own_matrix(builder: GraphBuilder, matrix: ir.Value) -> ir.Value:
    """Copies a square matrix that is a weight; anything else is returned as it is.

    Args:
        builder: Builder on the graph.
        matrix: Factor of a product.

    Returns:
        What a backward product may read.
    """
    rows, columns = dimensions(matrix)[-2:]
    if rows != columns or ir.convenience.get_const_tensor(matrix) is None:
        return matrix
    return own_copy(builder, matrix)
