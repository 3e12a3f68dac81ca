"""Rules of activation functions. [c] is 1 where the condition c holds, else 0."""

import math

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import required
from onnx_gradcam.values import element_type
from onnx_gradcam.vjp.broadcasting import sum_to
from onnx_gradcam.vjp.registry import Cotangents, rule


@rule("Relu")
def relu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = max(x, 0): dl/dx = g [y > 0].

    A Cast and a Mul: ONNX Runtime takes four times as long for Where, OpenVINO longer for Sign.
    """
    mask = builder.cast(node.outputs[0], ir.DataType.BOOL)  # y >= 0, so true where y > 0
    return {0: g * builder.cast(mask, element_type(g))}


@rule("LeakyRelu")
def leaky_relu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x where x > 0, else alpha x: dl/dx = g ([x > 0] + alpha [x <= 0])."""
    alpha = node.attributes.get_float("alpha", 0.01)
    return {0: g * (alpha + (1 - alpha) * builder.where_positive(required(node, 0)))}


@rule("PRelu")
def parametric_relu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x where x > 0, else s x: dl/dx = g ([x > 0] + s [x <= 0]) and dl/ds = g x [x <= 0]."""
    x, slope = required(node, 0), required(node, 1)
    positive = builder.where_positive(x)
    to_slope = sum_to(builder, g * x * (1 - positive), slope, node.outputs[0])
    return {0: g * (positive + slope * (1 - positive)), 1: to_slope}


@rule("ThresholdedRelu")
def thresholded_relu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x where x > alpha, else 0: dl/dx = g [x > alpha]."""
    return {0: g * builder.where_positive(required(node, 0) - node.attributes.get_float("alpha", 1.0))}


@rule("Clip")
def clip(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x between two bounds: dl/dx = g [low < y < high].

    Not g [y = x]: where an engine computes a float16 graph in float32, it may round one of them only.
    """
    y, bounds = node.outputs[0], zip(("Greater", "Less"), node.inputs[1:], strict=False)
    within = [builder.op(operator, [y, bound]) for operator, bound in bounds if bound is not None]
    if not within:
        return {0: g}
    inside = within[0] if len(within) == 1 else builder.op("And", within)
    return {0: g * builder.cast(inside, element_type(g))}


@rule("Sigmoid")
def sigmoid(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = 1 / (1 + e^-x): dl/dx = g y (1 - y)."""
    y = node.outputs[0]
    return {0: g * y * (1 - y)}


@rule("HardSigmoid")
def hard_sigmoid(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = alpha x + beta between 0 and 1: dl/dx = g alpha [0 < y < 1]."""
    y = node.outputs[0]
    return {0: g * node.attributes.get_float("alpha", 0.2) * _inside_unit(builder, y)}


@rule("HardSwish")
def hard_swish(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x h, h = x / 6 + 1 / 2 between 0 and 1: dl/dx = g (h + x [0 < h < 1] / 6)."""
    x = required(node, 0)
    h = builder.op("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5})
    return {0: g * (h + x * _inside_unit(builder, h) / 6)}


@rule("Swish")
def swish(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x s, s = sigmoid(alpha x): dl/dx = g (s + alpha y (1 - s))."""
    alpha = node.attributes.get_float("alpha", 1.0)
    s = builder.op("Sigmoid", [required(node, 0) * alpha])
    return {0: g * (s + alpha * node.outputs[0] * (1 - s))}


@rule("Mish")
def mish(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x t, t = tanh(ln(1 + e^x)): dl/dx = g (t + x (1 - t^2) sigmoid(x))."""
    x = required(node, 0)
    t = builder.op("Tanh", [builder.op("Softplus", [x])])
    return {0: g * (t + x * (1 - t * t) * builder.op("Sigmoid", [x]))}


@rule("Tanh")
def tanh(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y the hyperbolic tangent of x: dl/dx = g (1 - y^2)."""
    y = node.outputs[0]
    return {0: g * (1 - y * y)}


@rule("Softplus")
def softplus(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = ln(1 + e^x): dl/dx = g sigmoid(x)."""
    return {0: g * builder.op("Sigmoid", [required(node, 0)])}


@rule("Softsign")
def softsign(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x / (1 + |x|): dl/dx = g / (1 + |x|)^2."""
    bound = 1 + builder.op("Abs", [required(node, 0)])
    return {0: g / (bound * bound)}


@rule("Elu")
def elu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x where x > 0, else alpha (e^x - 1): dl/dx = g ([x > 0] + (y + alpha) [x <= 0])."""
    return _exponential_unit(builder, node, g, alpha=node.attributes.get_float("alpha", 1.0))


@rule("Selu")
def selu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = gamma x where x > 0, else gamma alpha (e^x - 1): as Elu, with gamma for 1."""
    gamma = node.attributes.get_float("gamma", 1.0507009873554805)
    alpha = gamma * node.attributes.get_float("alpha", 1.6732632423543772)
    return _exponential_unit(builder, node, g, alpha=alpha, gamma=gamma)


@rule("Celu")
def celu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x where x > 0, else a (e^(x / a) - 1), a alpha: dl/dx = g ([x > 0] + (y / a + 1) [x <= 0])."""
    positive = builder.where_positive(required(node, 0))
    slope = node.outputs[0] / node.attributes.get_float("alpha", 1.0) + 1
    return {0: g * (positive + slope * (1 - positive))}


@rule("Gelu")
def gelu(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x Phi(x), Phi the normal distribution: dl/dx = g (Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi)).

    In its approximation Phi = (1 + t) / 2 with t = tanh(u) and u = sqrt(2 / pi) (x + 0.044715 x^3).
    """
    x = required(node, 0)
    if node.attributes.get_string("approximate", "none") == "tanh":
        c, d = math.sqrt(2 / math.pi), 0.044715
        t = builder.op("Tanh", [c * (x + d * x * x * x)])
        return {0: g * 0.5 * (1 + t + x * (1 - t * t) * (c * (1 + 3 * d * x * x)))}
    phi = 0.5 * (1 + builder.op("Erf", [x * math.sqrt(0.5)]))
    density = builder.op("Exp", [-0.5 * (x * x)]) * (1 / math.sqrt(2 * math.pi))
    return {0: g * (phi + x * density)}


@rule("Softmax")
def softmax(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = e^x / sum of e^x: dl/dx = y (g - sum of g y)."""
    y = node.outputs[0]
    return {0: y * (g - _sum_over(builder, g * y, node))}


@rule("LogSoftmax")
def log_softmax(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = x - ln(sum of e^x): dl/dx = g - e^y (sum of g)."""
    probability = builder.op("Exp", [node.outputs[0]])
    return {0: g - probability * _sum_over(builder, g, node)}


def _exponential_unit(
    builder: GraphBuilder, node: ir.Node, g: ir.Value, alpha: float, gamma: float = 1.0
) -> Cotangents:
    """Below 0 the slope alpha e^x is y + alpha, above it is gamma."""
    positive = builder.where_positive(required(node, 0))
    return {0: g * (gamma * positive + (node.outputs[0] + alpha) * (1 - positive))}


def _inside_unit(builder: GraphBuilder, y: ir.Value) -> ir.Value:
    """[0 < y < 1] of a y in [0, 1]."""
    inside: ir.Value = builder.where_positive(y) * builder.where_positive(1 - y)
    return inside


def _sum_over(builder: GraphBuilder, value: ir.Value, node: ir.Node) -> ir.Value:
    axis = node.attributes.get_int("axis", -1)
    return builder.op("ReduceSum", [value, builder.integers([axis])], {"keepdims": 1})
