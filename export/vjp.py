"""The rules: the vector-Jacobian product of each ONNX operator.

A rule takes a node y = f(x_0, x_1, ...) and the cotangent g = dl/dy, and appends the nodes that compute

    dl/dx_i = sum over all elements k of g_k * dy_k/dx_i

for the inputs that a gradient may pass through. A cotangent always has the shape of its value. To add an
operator, write one function here and one line of test data.

Formulas: Baydin et al., Automatic Differentiation in Machine Learning: a Survey, 2018, arXiv:1502.05767;
operators: https://onnx.ai/onnx/operators/
"""

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from biounet_edge.errors import ExportError
from export.builder import GraphBuilder, dimensions, element_type
from export.convolution import channel_scale, scale_channels, split_channel_scale, transpose_convolution

Rule = Callable[[GraphBuilder, ir.Node, ir.Value], dict[int, ir.Value]]
"""(builder, node, cotangent of its first output) -> cotangents of its inputs, by their index."""

RULES: dict[str, Rule] = {}
"""Rule of each operator of the default domain."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of operators.

    Args:
        operators: Names of the operators.

    Returns:
        The decorator.
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def rule_of(node: ir.Node) -> Rule:
    """Finds the rule of a node.

    Args:
        node: The node.

    Returns:
        Its rule.

    Raises:
        ExportError: If its operator has none.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in RULES:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise ExportError(
            f"the gradient passes through node {node.name!r} of operator {operator}, which has no rule in "
            f"export/vjp.py; there are rules for {', '.join(sorted(RULES))}"
        )
    return RULES[node.op_type]


@rule("Identity")
def identity(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = x: dl/dx = g."""
    return {0: cotangent}


@rule("Relu")
def relu(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = max(x, 0): dl/dx = g * [y > 0].

    A Cast and a Mul: ONNX Runtime takes four times as long for Where, OpenVINO longer for Sign.
    """
    mask = builder.op("Cast", [node.outputs[0]], {"to": int(ir.DataType.BOOL)})  # y >= 0, so true where y > 0
    mask = builder.op("Cast", [mask], {"to": int(element_type(cotangent))})
    return {0: builder.op("Mul", [cotangent, mask])}


@rule("Add")
def add(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = a + b: dl/da = dl/db = g, summed over the axes that were broadcast."""
    return {index: _unbroadcast(builder, cotangent, node, index) for index in (0, 1)}


@rule("Sub")
def sub(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = a - b: dl/da = g and dl/db = -g, summed over the axes that were broadcast."""
    negative = builder.op("Neg", [cotangent])
    return {0: _unbroadcast(builder, cotangent, node, 0), 1: _unbroadcast(builder, negative, node, 1)}


@rule("Mul")
def mul(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = a * b: dl/da = g * b and dl/db = g * a, summed over the axes that were broadcast."""
    return {
        index: _unbroadcast(builder, builder.op("Mul", [cotangent, node.inputs[1 - index]]), node, index)
        for index in (0, 1)
    }


@rule("MatMul")
def matmul(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For Y = A B: dl/dA = G B^T and dl/dB = A^T G, summed over batch axes that were broadcast."""
    a, b = (_input(node, index) for index in (0, 1))
    if len(dimensions(a)) < 2 or len(dimensions(b)) < 2:
        raise ExportError(
            f"node {node.name!r} (MatMul) multiplies a vector: there is a rule for matrices only"
        )
    to_a = builder.op("MatMul", [cotangent, _transpose_matrix(builder, b)])
    to_b = builder.op("MatMul", [_transpose_matrix(builder, a), cotangent])
    return {0: _unbroadcast(builder, to_a, node, 0), 1: _unbroadcast(builder, to_b, node, 1)}


@rule("Gemm")
def gemm(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For Y = alpha A' B' + beta C, A' being A or A^T: dl/dA' = alpha G B'^T and dl/dB' = alpha A'^T G."""
    a, b = (_input(node, index) for index in (0, 1))
    alpha = node.attributes.get_float("alpha", 1.0)
    trans_a, trans_b = (node.attributes.get_int(name, 0) for name in ("transA", "transB"))

    def product(left: ir.Value, right: ir.Value, trans_left: int, trans_right: int) -> ir.Value:
        attributes = {"alpha": alpha, "transA": trans_left, "transB": trans_right}
        return builder.op("Gemm", [left, right], attributes)

    to_a = product(b, cotangent, trans_b, 1) if trans_a else product(cotangent, b, 0, 1 - trans_b)
    to_b = product(cotangent, a, 1, trans_a) if trans_b else product(a, cotangent, 1 - trans_a, 0)
    return {0: to_a, 1: to_b}


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """Where y holds x's elements in another shape: dl/dx is g in x's shape."""
    return {0: builder.op("Reshape", [cotangent, builder.shape(_input(node, 0))])}


@rule("GlobalAveragePool")
def global_average_pool(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = mean of x over space: dl/dx = g / (number of pixels), the same at every pixel."""
    return {0: _spread(builder, _input(node, 0), cotangent, range(2, len(dimensions(_input(node, 0)))))}


@rule("ReduceMean")
def reduce_mean(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = mean of x over axes: dl/dx = g / (number of elements averaged), the same along these axes."""
    x = _input(node, 0)
    axes = _axes(node, len(dimensions(x)))
    return {0: _spread(builder, x, cotangent, axes) if axes else cotangent}


@rule("BatchNormalization")
def batch_normalization(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For y = (x - mean) s + bias with s = scale / sqrt(var + epsilon) of each channel: dl/dx = g s.

    Where a Conv computes x, its rule moves s into its weight, and this multiplication falls away.
    """
    if node.attributes.get_int("training_mode", 0):
        raise ExportError(
            f"node {node.name!r} (BatchNormalization) is in training mode: export in evaluation mode"
        )
    return {0: scale_channels(builder, cotangent, channel_scale(builder, node))}


@rule("Conv")
def conv(builder: GraphBuilder, node: ir.Node, cotangent: ir.Value) -> dict[int, ir.Value]:
    """For Y = W * X + b: dl/dX is the transposed convolution of g with W."""
    cotangent, scale = split_channel_scale(cotangent)
    return {0: transpose_convolution(builder, node, cotangent, scale)}


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None, f"{node.op_type} requires input {index}"
    return value


def _transpose_matrix(builder: GraphBuilder, value: ir.Value) -> ir.Value:
    *batch, rows, columns = range(len(dimensions(value)))
    return builder.op("Transpose", [value], {"perm": [*batch, columns, rows]})


def _axes(node: ir.Node, rank: int) -> list[int]:
    """Axes of a reduction: an attribute up to opset 17, an input after it; all where none are given."""
    if "axes" in node.attributes:
        axes: Sequence[int] = node.attributes["axes"].as_ints()
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        tensor = ir.convenience.get_const_tensor(node.inputs[1])
        if tensor is None:
            raise ExportError(
                f"the axes of node {node.name!r} ({node.op_type}) are computed: expected a constant"
            )
        axes = [int(axis) for axis in tensor.numpy()]
    else:
        axes = [] if node.attributes.get_int("noop_with_empty_axes", 0) else range(rank)
    return sorted(axis % rank for axis in axes)


def _spread(builder: GraphBuilder, x: ir.Value, cotangent: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Divides g by the number of elements along the axes, and repeats it along them to the shape of x.

    The Expand comes last, so that who wants the mean over the axes finds it in front of the Expand.
    """
    kept = [1 if axis in axes else size for axis, size in enumerate(dimensions(x))]
    if len(dimensions(cotangent)) != len(kept):
        cotangent = builder.op("Unsqueeze", [cotangent, builder.integers(axes)])
    mean = builder.op("Div", [cotangent, _count(builder, x, axes)])
    mean.shape, mean.type = ir.Shape(kept), x.type
    return builder.op("Expand", [mean, builder.shape(x)])


def _count(builder: GraphBuilder, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Number of elements along the axes, of x's type."""
    sizes = [dimensions(x)[axis] for axis in axes]
    if None not in sizes:
        return builder.number_like(math.prod(size for size in sizes if size is not None), x)
    lengths = builder.op("Gather", [builder.op("Shape", [x]), builder.integers(axes)])
    count = builder.op("ReduceProd", [lengths], {"keepdims": 0})
    return builder.op("Cast", [count], {"to": int(element_type(x))})


def _unbroadcast(builder: GraphBuilder, cotangent: ir.Value, node: ir.Node, index: int) -> ir.Value:
    """Sums a cotangent of the output's shape over the axes along which the input was repeated."""
    value, output = _input(node, index), node.outputs[0]
    if value.shape == output.shape:
        return cotangent
    added = len(dimensions(output)) - len(dimensions(value))
    sizes = [1] * added + dimensions(value)
    repeated = [axis for axis, size in enumerate(sizes) if size == 1 and dimensions(output)[axis] != 1]
    if repeated:
        cotangent = builder.op("ReduceSum", [cotangent, builder.integers(repeated)], {"keepdims": 1})
    return builder.op("Reshape", [cotangent, builder.shape(value)]) if added else cotangent
