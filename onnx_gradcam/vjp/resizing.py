"""The rule of Resize, which is linear: along each axis y = M x, and dl/dx = M^T g."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import fixed_size, optional, required
from onnx_gradcam.values import constant_of, dimensions
from onnx_gradcam.vjp.pieces import apply_matrix
from onnx_gradcam.vjp.registry import Cotangents, rule


@rule("Resize")
def resize(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = M x along every axis that is resized: dl/dx = M^T g."""
    x, y = required(node, 0), node.outputs[0]
    if _coordinates(node) == "tf_crop_and_resize":
        raise UnsupportedOperatorError(
            f"node {node.name!r} (Resize) crops: there is a rule for resizing only"
        )
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedOperatorError(
            f"node {node.name!r} (Resize) keeps the aspect ratio: expected its sizes or scales"
        )
    rank = len(dimensions(x))
    axes = [axis % rank for axis in node.attributes.get_ints("axes", range(rank))]
    scales = None if optional(node, 2) is None else constant_of(required(node, 2))
    for place, axis in enumerate(axes):
        scale = float(scales[place]) if scales is not None and scales.size else None
        if scale == 1 or (dimensions(x)[axis] is None and dimensions(y)[axis] is None and axis < 2):
            continue  # the batch, which is never resized
        size, result = fixed_size(node, x, axis), fixed_size(node, y, axis)
        if size != result:
            g = apply_matrix(builder, g, axis, rank, _matrix(node, size, result, scale))
    return {0: g}


def _coordinates(node: ir.Node) -> str:
    return node.attributes.get_string("coordinate_transformation_mode", "half_pixel")


def _matrix(node: ir.Node, size: int, result: int, scale: float | None) -> NDArray[np.floating]:
    """Return M, shape (result, size): its column k is what the operator makes of a one at place k."""
    x, y = ir.val("x", ir.DataType.DOUBLE, [size, size]), ir.val("y", ir.DataType.DOUBLE, [result, size])
    attributes = {
        name: attribute
        for name, attribute in node.attributes.items()
        if name not in ("axes", "keep_aspect_ratio_policy")
    }
    coordinates = _coordinates(node)
    if coordinates == "pytorch_half_pixel" and result == 1:  # at place 0, where onnx.reference says -1/2
        coordinates = "align_corners"
        attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", coordinates
        )
    if coordinates == "align_corners":
        smooths = node.attributes.get_int("antialias", 0) == 1
        if smooths and scale is not None and scale * size != result:
            raise UnsupportedOperatorError(
                f"node {node.name!r} (Resize) smooths to a length of {scale * size:g}: expected whole pixels"
            )
        scale = None  # onnx.reference would align the corners of a length that is not whole
    parameter: NDArray[np.generic] = (
        np.array([result, size], np.int64) if scale is None else np.array([scale, 1], np.float32)
    )
    constant = ir.Value(name="parameter", const_value=ir.tensor(parameter, name="parameter"))
    inputs = [x, None, None, constant] if scale is None else [x, None, constant]
    alone = ir.Node("", "Resize", inputs, attributes, outputs=[y], name="resize")
    graph = ir.Graph([x], [y], nodes=[alone], initializers=[constant], opset_imports={"": 20}, name="resize")
    evaluator = ReferenceEvaluator(ir.to_proto(ir.Model(graph, ir_version=10)))
    return np.asarray(*evaluator.run(None, {"x": np.eye(size)}))
