"""What encoders have in common, computed once.

Encoders that kept their first blocks equal read the same image with the same weights: in the composed graph
these weights are one initializer each, and the nodes that compute the same from the same are one node. The
results are the same to the last bit.
"""

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateHashedInitializersPass,
    RemoveUnusedNodesPass,
)

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.vjp.weights import own_copy


def merge_equal(model: ir.Model) -> ir.Model:
    """Merge equal initializers and equal nodes.

    Args:
        model: The graph, changed in place.

    Returns:
        The same graph.
    """
    DeduplicateHashedInitializersPass()(model)
    CommonSubexpressionEliminationPass()(model)
    _separate_directions(model.graph)
    RemoveUnusedNodesPass()(model)
    return model


def _separate_directions(graph: ir.Graph) -> None:
    """Give every ConvTranspose a weight that no Conv reads; onnx_gradcam/vjp/weights.py says why.

    In float16 the batch norm is in the weight, forward and backward: both were the same expression.
    """
    copies: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        weight = node.inputs[1] if node.op_type == "ConvTranspose" else None
        if weight is None or not any(use.node.op_type == "Conv" and use.idx == 1 for use in weight.uses()):
            continue
        if weight not in copies:
            builder = GraphBuilder(graph)
            copies[weight] = own_copy(builder, weight)
            copies[weight].type = weight.type
            appended = list(builder.nodes)
            graph.remove(appended)
            graph.insert_before(node, appended)
        node.replace_input_with(1, copies[weight])
