"""Rules of convolutions, which are each other's vector-Jacobian products."""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import fixed_size, required
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.registry import Cotangents, rule
from onnx_gradcam.vjp.transposed import split_channel_scale, transpose_convolution
from onnx_gradcam.vjp.weights import own_copy
from onnx_gradcam.vjp.window import fixed


@rule("Conv")
def conv(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For Y = W * X + b: dl/dX is the transposed convolution of g with W."""
    g, scale = split_channel_scale(g)
    return {0: transpose_convolution(builder, node, g, scale)}


@rule("ConvTranspose")
def conv_transpose(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For Y the transposed convolution of X with W: dl/dX is the convolution of g with W.

    It reads only what X was spread to: output_padding adds less than a stride at the end, too little to read.
    """
    weight = required(node, 1)
    kernel = fixed(dimensions(weight)[2:])
    ones = [1] * len(kernel)
    strides, dilations = (list(node.attributes.get_ints(name, ones)) for name in ("strides", "dilations"))
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": dilations,
        "group": node.attributes.get_int("group", 1),
        "pads": _pads(node, kernel, strides, dilations),
    }
    return {0: builder.op("Conv", [g, own_copy(builder, weight)], attributes)}


def _pads(node: ir.Node, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Return the begins and ends that the node cuts from what it spreads, and the Conv adds again.

    With SAME_UPPER, SAME_LOWER or output_shape they follow from the sizes.
    """
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    if automatic in ("NOTSET", "VALID") and "output_shape" not in node.attributes:
        return list(node.attributes.get_ints("pads", [0] * 2 * len(kernel)))
    x, y = required(node, 0), node.outputs[0]
    added = node.attributes.get_ints("output_padding", [0] * len(kernel))
    totals = [
        stride * (fixed_size(node, x, axis) - 1)
        + dilation * (taps - 1)
        + 1
        + extra
        - fixed_size(node, y, axis)
        for axis, (stride, dilation, taps, extra) in enumerate(
            zip(strides, dilations, kernel, added, strict=True), start=2
        )
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    begin, end = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return begin + [max(pad, 0) for pad in end]
