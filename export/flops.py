"""What a graph costs."""

import math

import onnx_ir as ir

from onnx_gradcam.values import dimensions


def count_gflops(model: ir.Model) -> float:
    """Count the multiply-adds of a graph's convolutions and matrix products, for one image.

    Everything else (additions, activations, resizing) is a few percent and bound by memory.

    Args:
        model: The graph, its shapes inferred.

    Returns:
        GFLOPs per image, 2 for each multiply-add.
    """
    return sum(_multiply_adds(node) for node in model.graph) * 2 / 1e9


def _multiply_adds(node: ir.Node) -> float:
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    output = _sizes(node.outputs[0])
    if node.op_type in ("MatMul", "Gemm"):
        inner = _sizes(node.inputs[0])
        transposed = node.attributes.get_int("transA", 0)
        return math.prod(output) * (inner[-2] if transposed else inner[-1])
    weight = _sizes(node.inputs[1])  # (out, in / group, ...), or of a ConvTranspose (in, out / group, ...)
    pixels = output if node.op_type == "Conv" else _sizes(node.inputs[0])
    return math.prod(pixels) * math.prod(weight[1:])


def _sizes(value: ir.Value | None) -> list[int]:
    """Sizes for one image: the batch axis is the only one that is not fixed."""
    assert value is not None, "these operators require their inputs"
    return [1 if size is None else size for size in dimensions(value)]
