"""Batch normalisation absorbed by the convolution before it, for graphs in float16 and int8.

The float32 graphs leave that to the engines, because both paths through an encoder share one convolution
weight and differ in their batch norm. In float16 and int8 the product of weight and scale is what gets
rounded, so it has to be in the graph: as an expression over the shared weight, which costs no space.
"""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.transposed import channel_scale


def absorb_batch_norm(graph: ir.Graph) -> list[ir.Node]:
    """Replace each Conv that only a BatchNormalization reads, and that BatchNormalization, by one Conv.

        s (W * x - mean) + bias = (s W) * x + (bias - s mean)        s = scale / sqrt(variance + epsilon)

    Args:
        graph: A graph in evaluation mode, changed in place.

    Returns:
        The new Conv nodes, in order. Their weights and biases are expressions over initializers.
    """
    absorbing: list[ir.Node] = []
    for normalisation in list(graph):
        if normalisation.op_type != "BatchNormalization":
            continue
        convolution = normalisation.inputs[0].producer() if normalisation.inputs[0] is not None else None
        if convolution is None or convolution.op_type != "Conv" or len(convolution.inputs) > 2:
            continue
        if len(list(convolution.outputs[0].uses())) > 1:  # another node reads it before it is normalised
            continue
        absorbing.append(_absorb(graph, convolution, normalisation))
    return absorbing


def _absorb(graph: ir.Graph, convolution: ir.Node, normalisation: ir.Node) -> ir.Node:
    weight, (_, _, bias, mean, _) = convolution.inputs[1], normalisation.inputs
    assert weight is not None, "Conv requires a weight"
    # The tape appends at the end; its nodes are moved before the convolution.
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
