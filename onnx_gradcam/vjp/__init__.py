"""The rules: the vector-Jacobian product of each ONNX operator.

A rule takes a node y = f(x_0, x_1, ...) and the cotangent g = dl/dy, and appends the nodes that compute

    dl/dx_i = sum over all elements k of g_k * dy_k/dx_i

for the inputs that a gradient may pass through. A cotangent always has the shape of its value. Nodes that a
rule appends and nothing uses are removed later. In a rule, `+ - * /` on values append nodes.

To add an operator, write one function in the module it belongs to and one line of test data.

Formulas: Baydin et al., Automatic Differentiation in Machine Learning: a Survey, 2018, arXiv:1502.05767;
operators: https://onnx.ai/onnx/operators/
"""

from onnx_gradcam.vjp import (
    activations,
    convolution,
    elementwise,
    matrices,
    normalization,
    pieces,
    pooling,
    rearranging,
    reductions,
    resizing,
)
from onnx_gradcam.vjp.registry import RULES, Cotangents, Rule, RuleOfAllOutputs, rule_of

__all__ = [
    "RULES",
    "Cotangents",
    "Rule",
    "RuleOfAllOutputs",
    "activations",
    "convolution",
    "elementwise",
    "matrices",
    "normalization",
    "pieces",
    "pooling",
    "rearranging",
    "reductions",
    "resizing",
    "rule_of",
]
