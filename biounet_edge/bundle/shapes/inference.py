"""From the shapes of a node's inputs to those of its outputs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from biounet_edge.bundle.nodes import Node
from biounet_edge.bundle.shapes.inputs import Inputs, Shape, broadcast
from biounet_edge.bundle.shapes.rearranging import REARRANGING, slices_of
from biounet_edge.bundle.shapes.windows import WINDOWS
from biounet_edge.bundle.tensors import MAX_VALUES, Values

_SAME = {
    "Abs", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "CumSum", "DequantizeLinear",
    "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "GroupNormalization", "HardSigmoid", "HardSwish",
    "Hardmax", "Identity", "InstanceNormalization", "LRN", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "Not", "QuantizeLinear",
    "RMSNormalization", "Reciprocal", "Relu", "Round", "ScatterElements", "ScatterND", "Selu", "Sigmoid",
    "Sign", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
}  # fmt: skip
_BROADCAST = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
}  # fmt: skip
_REDUCTIONS = {
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip


def shapes_of(node: Node, inputs: Inputs) -> list[Shape]:
    """Return the shapes of a node's outputs.

    Args:
        node: The node.
        inputs: What is known of its inputs.

    Returns:
        At least as many as the node has outputs that are used.

    Raises:
        ValueError: If they cannot be told, or the inputs do not fit.
    """
    operator = node.operator
    if operator in _SAME:
        return [inputs.tensor(0).shape]
    if operator in _BROADCAST:
        return [broadcast([tensor.shape for tensor in inputs.given])]
    if operator in _REDUCTIONS:
        return [_reduced(node, inputs)]
    if operator not in _RULES:
        raise ValueError(f"it calls {operator}, and how much that needs is not known")
    result = _RULES[operator](node, inputs)
    return result if isinstance(result, list) else [result]


def values_of(node: Node, inputs: Inputs, shape: Shape) -> Values | None:
    """Return the numbers that a node computes of shapes and constants, where they are few and wanted.

    No difference and no quotient is among them: what is computed grows with the batch or stays.

    Args:
        node: The node.
        inputs: What is known of its inputs.
        shape: Shape of its first output.

    Returns:
        The numbers; None where they are not known.
    """
    if math.prod(shape) > MAX_VALUES:
        return None
    if node.operator == "Shape":
        return np.array(_sizes(node, inputs), np.int64)
    values: list[Any] = [tensor.values for tensor in inputs.given]
    if not values or any(value is None for value in values):
        return None
    if node.operator in ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze"):
        return np.asarray(values[0]).reshape(shape)
    if node.operator == "Concat":
        return np.concatenate(values, axis=node.integer("axis", 0))
    if node.operator == "Gather":
        return np.asarray(np.take(values[0], values[1].astype(np.int64), axis=node.integer("axis", 0)))
    if node.operator == "Slice":
        return np.asarray(values[0][slices_of(node, inputs)])
    return None


def _sizes(node: Node, inputs: Inputs) -> Shape:
    """Return what Shape returns."""
    sizes = inputs.tensor(0).shape
    return sizes[node.integer("start", 0) : node.integer("end", len(sizes))]


def _reduced(node: Node, inputs: Inputs) -> Shape:
    shape, keep = inputs.tensor(0).shape, node.integer("keepdims", 1)
    axes = inputs.axes(node)
    if axes is None:
        axes = [] if node.integer("noop_with_empty_axes", 0) else list(range(len(shape)))
    reduced = {axis % len(shape) for axis in axes}
    return tuple(1 if i in reduced else size for i, size in enumerate(shape) if keep or i not in reduced)


def _arg_max(node: Node, inputs: Inputs) -> Shape:
    shape = inputs.tensor(0).shape
    axis = node.integer("axis", 0) % len(shape)
    return shape[:axis] + ((1,) if node.integer("keepdims", 1) else ()) + shape[axis + 1 :]


def _gemm(node: Node, inputs: Inputs) -> Shape:
    left, right = inputs.tensor(0).shape, inputs.tensor(1).shape
    return left[1 if node.integer("transA", 0) else 0], right[0 if node.integer("transB", 0) else 1]


def _matmul(node: Node, inputs: Inputs) -> Shape:
    left, right = inputs.tensor(0).shape, inputs.tensor(1).shape
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    return broadcast([left[:-2], right[:-2]]) + rows + columns


def _einsum(node: Node, inputs: Inputs) -> Shape:
    terms, arrow, result = node.text("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms.split(","), inputs.given, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    if not arrow or not set(result) <= set(sizes):
        raise ValueError("an Einsum does not say its result by letters")
    return tuple(sizes[letter] for letter in result)


_RULES: dict[str, Callable[[Node, Inputs], Shape | list[Shape]]] = {
    "ArgMax": _arg_max,
    "ArgMin": _arg_max,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Shape": lambda node, inputs: (len(_sizes(node, inputs)),),
    "Size": lambda node, inputs: (),
    **REARRANGING,
    **WINDOWS,
}
