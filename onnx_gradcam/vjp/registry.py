"""What a rule is, and which there are."""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError

Cotangents = dict[int, ir.Value]
"""Cotangents of a node's inputs, by their index."""

Rule = Callable[[GraphBuilder, ir.Node, ir.Value], Cotangents]
"""(builder, node, cotangent of its first output) -> cotangents of its inputs."""

RuleOfAllOutputs = Callable[[GraphBuilder, ir.Node, Sequence[ir.Value | None]], Cotangents]
"""The same with a cotangent of every output, None where nothing depends on an output."""

RULES: dict[str, RuleOfAllOutputs] = {}
"""Rule of each operator of the default domain."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operators of which only the first output is differentiated."""

    def register(function: Rule) -> Rule:
        def of_first_output(
            builder: GraphBuilder, node: ir.Node, cotangents: Sequence[ir.Value | None]
        ) -> Cotangents:
            first, *others = cotangents
            if first is None or any(other is not None for other in others):
                raise UnsupportedOperatorError(
                    f"the gradient reaches another output than the first of node {node.name!r} "
                    f"({node.op_type}): there is no rule for that"
                )
            return function(builder, node, first)

        RULES.update(dict.fromkeys(operators, of_first_output))
        return function

    return register


def rule_of_all_outputs(*operators: str) -> Callable[[RuleOfAllOutputs], RuleOfAllOutputs]:
    """Register a function as the rule of operators with several outputs."""

    def register(function: RuleOfAllOutputs) -> RuleOfAllOutputs:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def rule_of(node: ir.Node) -> RuleOfAllOutputs:
    """Return the rule of a node.

    Raises:
        UnsupportedOperatorError: If its operator has none.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in RULES:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise UnsupportedOperatorError(
            f"the gradient passes through node {node.name!r} of operator {operator}, which has no rule in "
            f"onnx_gradcam/vjp; there are rules for {', '.join(sorted(RULES))}"
        )
    return RULES[node.op_type]
