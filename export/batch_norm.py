"""Batch normalisation moved into the convolution in front of it, which is what a precision is chosen for.

The float32 graphs leave that to the engines, because both paths through an encoder share one convolution
weight and differ in their batch norm. In float16 and int8 the folded weight is what gets rounded, so it has
to be in the graph: as an expression over the shared weight, which costs no space.
"""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder, dimensions
from onnx_gradcam.vjp.transposed import channel_scale


def fold_batch_norm(graph: ir.Graph) -> list[ir.Node]:
    """Replaces each Conv that only a BatchNormalization reads, and that one, by one Conv.

        s (W * x - mean) + bias = (s W) * x + (bias - s mean)        s = scale / sqrt(variance + epsilon)

    Args:
        graph: A graph in evaluation mode, changed in place.

    Returns:
        The new Conv nodes, in order. Their weights and biases are expressions over initializers.
    """
    folded: list[ir.Node] = []
    for normalisation in list(graph):
        if normalisation.op_type != "BatchNormalization":
            continue
        convolution = normalisation.inputs[0].producer() if normalisation.inputs[0] is not None else None
        if convolution is None or convolution.op_type != "Conv" or len(convolution.inputs) > 2:
            continue
        if len(list(convolution.outputs[0].uses())) > 1:  # somebody else reads it before it is normalised
            continue
        folded.append(_fold(graph, convolution, normalisation))
    return folded


def _fold(graph: ir.Graph, convolution: ir.Node, normalisation: ir.Node) -> ir.Node:
    weight, (_, _, bias, mean, _) = convolution.inputs[1], normalisation.inputs
    assert weight is not None, "Conv requires a weight"
    # The tape appends at the end; its nodes are moved in front of the convolution, which reads them.
    builder = GraphBuilder(graph)
    scale = channel_scale(builder, normalisation)  # (C_out,)
    ones = [1] * (len(dimensions(weight)) - 1)
    scaled = builder.op("Mul", [weight, builder.reshape(scale, [-1, *ones])])
    shift = builder.op("Sub", [bias, builder.op("Mul", [mean, scale])])
    output = builder.op("Conv", [convolution.inputs[0], scaled, shift], dict(convolution.attributes))
    nodes = list(builder.nodes)
    for appended in nodes:
        appended.outputs[0].type = weight.type
    replaced = normalisation.outputs[0]
    output.shape, output.type = replaced.shape, replaced.type
    name = replaced.name
    replaced.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(nodes)
    graph.insert_before(convolution, nodes)
    graph.remove([normalisation, convolution], safe=True)
    output.name = name
    node = output.producer()
    assert node is not None, "the builder made it"
    return node
