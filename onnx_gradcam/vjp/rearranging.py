"""Rules of operators that rearrange the elements of a value, or repeat them."""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import fixed_size, required
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.broadcasting import sum_to
from onnx_gradcam.vjp.registry import Cotangents, rule


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y holds x's elements in another shape: dl/dx is g in x's shape."""
    return {0: builder.op("Reshape", [g, builder.shape(required(node, 0))])}


@rule("Transpose")
def transpose(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where axis i of y is axis p[i] of x: axis p[i] of dl/dx is axis i of g."""
    rank = len(dimensions(required(node, 0)))
    perm = list(node.attributes.get_ints("perm", list(reversed(range(rank)))))
    return {0: builder.op("Transpose", [g], {"perm": [perm.index(axis) for axis in range(rank)]})}


@rule("Expand")
def expand(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Where y repeats x: dl/dx is the sum of g over the repetitions."""
    return {0: sum_to(builder, g, required(node, 0), node.outputs[0])}


@rule("SpaceToDepth")
def space_to_depth(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Its inverse: DepthToSpace."""
    return {0: builder.op("DepthToSpace", [g], {"blocksize": node.attributes.get_int("blocksize", 1)})}


@rule("DepthToSpace")
def depth_to_space(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """Its inverse: SpaceToDepth; in mode CRD the parts of a block are numbered after the channels."""
    block = node.attributes.get_int("blocksize", 1)
    if node.attributes.get_string("mode", "DCR") == "DCR":
        return {0: builder.op("SpaceToDepth", [g], {"blocksize": block})}
    channels, height, width = (fixed_size(node, required(node, 0), axis) for axis in (1, 2, 3))
    parts = builder.reshape(g, [-1, channels // block**2, height, block, width, block])
    parts = builder.op("Transpose", [parts], {"perm": [0, 1, 3, 5, 2, 4]})
    return {0: builder.reshape(parts, [-1, channels, height, width])}
