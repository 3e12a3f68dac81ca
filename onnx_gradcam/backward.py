"""The walk: reverse-mode differentiation of an ONNX graph.

For a value y and an output l that depends on it, the cotangent of y is the gradient dl/dy, of y's own shape.
The cotangent of l itself is given (the seed). The nodes are visited in reverse order; each turns the
cotangent of its output into cotangents of its inputs, by the rule of its operator in onnx_gradcam/vjp. Where
a value has several consumers, their contributions add up: the chain rule.

    forward     x ──> f ──> y ──> g ──> l
    backward   x̄ <── f' <── ȳ <── g' <── l̄ = seed            f' and g' are nodes of the same graph

Only what lies between the targets and the output is visited: nothing is appended for a node that no target
leads to, or that the output does not depend on.
"""

from collections.abc import Collection, Iterable

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import OptionError, UnsupportedOperatorError
from onnx_gradcam.vjp import rule_of


def backpropagate(
    builder: GraphBuilder, output: ir.Value, seed: ir.Value, targets: Collection[ir.Value]
) -> dict[ir.Value, ir.Value]:
    """Append nodes that compute the gradient of an output with respect to targets.

    Args:
        output: Value that is differentiated.
        seed: Cotangent of the output, of the output's shape.
        targets: Values it is differentiated with respect to.

    Returns:
        Gradient of each target, of the target's shape.

    Raises:
        OptionError: If the output does not depend on a target.
        UnsupportedOperatorError: If an operator on the way has no rule.
    """
    nodes = tuple(builder.graph)
    active = _depending_on(targets, nodes)
    cotangents = {output: seed}
    with builder.arithmetic():
        for node in reversed(nodes):
            if any(value in active for value in node.inputs) and any(y in cotangents for y in node.outputs):
                _pass_back(builder, node, active, cotangents)
    for target in targets:
        if target not in cotangents or target not in active:
            raise OptionError(
                f"{output.name!r} does not depend on {target.name!r}: expected a layer before it"
            )
    return {target: cotangents[target] for target in targets}


def _depending_on(targets: Collection[ir.Value], nodes: Iterable[ir.Node]) -> set[ir.Value | None]:
    """Return the targets and all that is computed from them; integers, such as a shape, carry no gradient."""
    active: set[ir.Value | None] = set(targets)
    for node in nodes:
        if not active.isdisjoint(node.inputs):
            active.update(y for y in node.outputs if y.dtype is None or y.dtype.is_floating_point())
    return active


def _pass_back(
    builder: GraphBuilder,
    node: ir.Node,
    active: set[ir.Value | None],
    cotangents: dict[ir.Value, ir.Value],
) -> None:
    """Add what one node sends back to the cotangents of its active inputs."""
    contributions = rule_of(node)(builder, node, [cotangents.get(y) for y in node.outputs])
    for index, value in enumerate(node.inputs):
        if value is None or value not in active:
            continue
        if index not in contributions:
            raise UnsupportedOperatorError(
                f"the gradient passes through input {index} of node {node.name!r} ({node.op_type}), "
                "and the operator's rule does not cover that input"
            )
        contribution = contributions[index]
        if value in cotangents:
            contribution = builder.op("Add", [cotangents[value], contribution])
        contribution.shape, contribution.type = value.shape, value.type
        cotangents[value] = contribution
