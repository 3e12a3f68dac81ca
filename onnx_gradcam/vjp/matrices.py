"""Rules of products of matrices."""

import re

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import optional, required
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.broadcasting import sum_to
from onnx_gradcam.vjp.registry import Cotangents, rule
from onnx_gradcam.vjp.weights import own_matrix


@rule("MatMul")
def matmul(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For Y = A B: dl/dA = G B^T and dl/dB = A^T G, summed over batch axes that were broadcast."""
    a, b = required(node, 0), required(node, 1)
    if len(dimensions(a)) < 2 or len(dimensions(b)) < 2:
        raise UnsupportedOperatorError(
            f"node {node.name!r} (MatMul) multiplies a vector: there is a rule for matrices only"
        )
    to_a = builder.op("MatMul", [g, _transpose(builder, own_matrix(builder, b))])
    to_b = builder.op("MatMul", [_transpose(builder, own_matrix(builder, a)), g])
    return {0: _sum_batch(builder, to_a, a, b), 1: _sum_batch(builder, to_b, b, a)}


@rule("Gemm")
def gemm(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For Y = alpha A' B' + beta C, A' being A or A^T: dl/dA' = alpha G B'^T, dl/dB' = alpha A'^T G.

    And dl/dC = beta G.
    """
    a, b, c = required(node, 0), required(node, 1), optional(node, 2)
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    trans_a, trans_b = (node.attributes.get_int(name, 0) for name in ("transA", "transB"))

    own_a, own_b = own_matrix(builder, a), own_matrix(builder, b)

    def product(left: ir.Value, right: ir.Value, trans_left: int, trans_right: int) -> ir.Value:
        attributes = {"alpha": alpha, "transA": trans_left, "transB": trans_right}
        return builder.op("Gemm", [left, right], attributes)

    to_a = product(own_b, g, trans_b, 1) if trans_a else product(g, own_b, 0, 1 - trans_b)
    to_b = product(g, own_a, 1, trans_a) if trans_b else product(own_a, g, 1 - trans_a, 0)
    to_c = {} if c is None else {2: sum_to(builder, g * beta, c, node.outputs[0])}
    return {0: to_a, 1: to_b} | to_c


@rule("Einsum")
def einsum(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For Y[k] = sum of A[i] B[j] ...: dl/dA[i] = sum of G[k] B[j] ..., over the letters that i lacks."""
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    inputs = [required(node, index) for index in range(len(node.inputs))]
    terms, arrow, result = equation.partition("->")
    letters = terms.split(",")
    if not arrow or "." in equation or any(re.search(r"(.).*\1", term) for term in (*letters, result)):
        raise UnsupportedOperatorError(
            f"node {node.name!r} (Einsum) computes {equation!r}: there is a rule for equations with '->', "
            "without '...', and with no letter twice in one term"
        )
    sizes: dict[str, int | None] = {}
    for term, value in zip(letters, inputs, strict=True):
        for letter, size in zip(term, dimensions(value), strict=True):
            if sizes.setdefault(letter, size) != size:
                raise UnsupportedOperatorError(
                    f"node {node.name!r} (Einsum) repeats {value.name!r} along {letter!r}"
                )
    cotangents: Cotangents = {}
    for index, wanted in enumerate(letters):
        others = [place for place in range(len(inputs)) if place != index]
        operands = [result, *(letters[place] for place in others)]
        if not set(wanted) <= set("".join(operands)):  # this input was summed along a letter of its own
            continue
        values = [g, *(inputs[place] for place in others)]
        cotangents[index] = builder.op("Einsum", values, {"equation": f"{','.join(operands)}->{wanted}"})
    return cotangents


def _transpose(builder: GraphBuilder, value: ir.Value) -> ir.Value:
    *batch, rows, columns = range(len(dimensions(value)))
    return builder.op("Transpose", [value], {"perm": [*batch, columns, rows]})


def _sum_batch(builder: GraphBuilder, product: ir.Value, value: ir.Value, other: ir.Value) -> ir.Value:
    """Sum over the batch axes along which a value was repeated to go with the other."""
    mine, its = (dimensions(v)[:-2] for v in (value, other))
    added = max(0, len(its) - len(mine))
    padded = [1] * added + list(mine)
    against = [1] * (len(padded) - len(its)) + list(its)
    repeated = [axis for axis, size in enumerate(padded) if size == 1 and against[axis] != 1]
    if repeated:
        product = builder.op("ReduceSum", [product, builder.integers(repeated)], {"keepdims": 1})
    return builder.op("Reshape", [product, builder.shape(value)]) if added else product
