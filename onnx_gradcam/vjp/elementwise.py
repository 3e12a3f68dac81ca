"""Rules of arithmetic, with broadcasting: cotangents are summed over what was repeated."""

import math

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import optional, required
from onnx_gradcam.values import constant_of, element_type
from onnx_gradcam.vjp.broadcasting import sum_to
from onnx_gradcam.vjp.registry import Cotangents, rule


@rule("Identity")
def identity(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x: dl/dx = g."""
    return {0: g}


@rule("Dropout")
def dropout(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x, which is what it is outside training: dl/dx = g."""
    training = optional(node, 2)
    if training is not None:
        known = constant_of(training)
        if known is None or known.any():
            raise UnsupportedOperatorError(
                f"node {node.name!r} (Dropout) may drop: export in evaluation mode"
            )
    return {0: g}


@rule("Cast", "CastLike")
def cast(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x in another number format: dl/dx is g in x's."""
    return {0: builder.cast(g, element_type(required(node, 0)))}


@rule("Add")
def add(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a + b: dl/da = dl/db = g."""
    a, b, y = *_pair(node), node.outputs[0]
    return {0: sum_to(builder, g, a, y), 1: sum_to(builder, g, b, y)}


@rule("Sub")
def sub(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a - b: dl/da = g and dl/db = -g."""
    a, b, y = *_pair(node), node.outputs[0]
    return {0: sum_to(builder, g, a, y), 1: sum_to(builder, -g, b, y)}


@rule("Mul")
def mul(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a b: dl/da = g b and dl/db = g a."""
    a, b, y = *_pair(node), node.outputs[0]
    return {0: sum_to(builder, g * b, a, y), 1: sum_to(builder, g * a, b, y)}


@rule("Div")
def div(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a / b: dl/da = g / b and dl/db = -g y / b."""
    a, b, y = *_pair(node), node.outputs[0]
    return {0: sum_to(builder, g / b, a, y), 1: sum_to(builder, -(g * y) / b, b, y)}


@rule("Pow")
def power(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a^b: dl/da = g b a^(b-1). No gradient is passed to an exponent."""
    a, b = _pair(node)
    exponent = builder.cast(b, element_type(a)) if element_type(b) != element_type(a) else b
    slope = exponent * builder.op("Pow", [a, exponent - 1])
    return {0: sum_to(builder, g * slope, a, node.outputs[0])}


@rule("Neg")
def negative(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = -x: dl/dx = -g."""
    return {0: -g}


@rule("Sqrt")
def square_root(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x^(1/2): dl/dx = g / (2 y)."""
    return {0: g / (2 * node.outputs[0])}


@rule("Reciprocal")
def reciprocal(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = 1 / x: dl/dx = -g y^2."""
    y = node.outputs[0]
    return {0: -g * y * y}


@rule("Exp")
def exponential(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = e^x: dl/dx = g y."""
    return {0: g * node.outputs[0]}


@rule("Log")
def logarithm(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = ln x: dl/dx = g / x."""
    return {0: g / required(node, 0)}


@rule("Abs")
def absolute(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = |x|: dl/dx = g sign(x)."""
    return {0: g * builder.op("Sign", [required(node, 0)])}


@rule("Erf")
def error_function(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = erf(x): dl/dx = g (2 / sqrt(pi)) e^(-x^2)."""
    x = required(node, 0)
    return {0: g * builder.op("Exp", [-(x * x)]) * (2 / math.sqrt(math.pi))}


@rule("Sum")
def summation(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x_0 + x_1 + ...: dl/dx_i = g."""
    return {
        index: sum_to(builder, g, required(node, index), node.outputs[0]) for index in range(len(node.inputs))
    }


@rule("Max", "Min")
def extremum(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = max(x_0, x_1, ...): dl/dx_i = g [x_i = y], shared evenly by those that are equal."""
    y = node.outputs[0]
    inputs = [required(node, index) for index in range(len(node.inputs))]
    masks = [builder.where_equal(x, y, like=g) for x in inputs]
    share = g / sum(masks[1:], start=masks[0])
    return {
        index: sum_to(builder, share * mask, x, y)
        for index, (x, mask) in enumerate(zip(inputs, masks, strict=True))
    }


@rule("Where")
def where(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = a where c, else b: dl/da = g where c, else 0; dl/db the other way round."""
    condition, a, b, y = *(required(node, index) for index in range(3)), node.outputs[0]
    zero = builder.number_like(0, g)
    to_a = builder.op("Where", [condition, g, zero])
    to_b = builder.op("Where", [condition, zero, g])
    return {1: sum_to(builder, to_a, a, y), 2: sum_to(builder, to_b, b, y)}


def _pair(node: ir.Node) -> tuple[ir.Value, ir.Value]:
    return required(node, 0), required(node, 1)
