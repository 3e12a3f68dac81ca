"""From activations and their gradients to a heatmap: Grad-CAM and four relatives.

With A_k channel k of the activations, g_k = d score / d A_k, and sums over the pixels i, all of them are

    heatmap = ReLU(sum over k of w_k A_k)

and differ in the weight w_k, which for the last two has a value at every pixel.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions

Method = Literal["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam"]

CamMethod = Callable[[GraphBuilder, ir.Value, ir.Value, float], ir.Value]
"""(builder, activations, gradients, scale) -> the sum over k of w_k A_k, shape (N, h, w).

Both values are (N, C, h, w); the gradients come multiplied with the scale.
"""

_XGRADCAM_FLOOR = 1e-7
"""Added to a channel's sum, which may be 0; as in pytorch-grad-cam."""


def grad_cam(builder: GraphBuilder, activations: ir.Value, gradients: ir.Value, scale: float) -> ir.Value:
    """w_k = mean of g_k.

    Source: Selvaraju et al., Grad-CAM, 2017, arXiv:1610.02391, equations 1 and 2
    """
    return weigh(builder, activations, mean_over_space(builder, gradients) * (1 / scale))


def grad_cam_plus_plus(
    builder: GraphBuilder, activations: ir.Value, gradients: ir.Value, scale: float
) -> ir.Value:
    """w_k = sum of a_k ReLU(g_k) with a_k = g_k^2 / (2 g_k^2 + g_k^3 (sum of A_k)), 0 where g_k is 0.

    Divided by g_k^2, which is too small for a float32 where the score depends little on a pixel.

    Source: Chattopadhay et al., Grad-CAM++, 2018, arXiv:1710.11063, equations 14 and 19
    """
    space = builder.integers([2, 3])
    total = builder.op("ReduceSum", [activations, space], {"keepdims": 1})  # (N, C, 1, 1)
    gradients = gradients * (1 / scale)
    denominator = 2 + gradients * total
    safe = denominator + builder.where_equal(denominator, builder.number_like(0, total), like=total)
    share = builder.op("Relu", [gradients]) / safe  # 0 where the gradient is
    return weigh(builder, activations, builder.op("ReduceSum", [share, space], {"keepdims": 0}))


def x_grad_cam(builder: GraphBuilder, activations: ir.Value, gradients: ir.Value, scale: float) -> ir.Value:
    """w_k = (sum of g_k A_k) / (sum of A_k).

    Source: Fu et al., Axiom-based Grad-CAM, 2020, arXiv:2008.02312, equation 8
    """
    space = builder.integers([2, 3])
    total = builder.op("ReduceSum", [activations, space], {"keepdims": 0})  # (N, C)
    weighted = builder.op("ReduceSum", [gradients * activations, space], {"keepdims": 0})
    return weigh(builder, activations, weighted * (1 / scale) / (total + _XGRADCAM_FLOOR))


def layer_cam(builder: GraphBuilder, activations: ir.Value, gradients: ir.Value, scale: float) -> ir.Value:
    """w_k = ReLU(g_k) at every pixel.

    Source: Jiang et al., LayerCAM, 2021, doi:10.1109/TIP.2021.3089943, equation 3
    """
    return sum_channels(builder, builder.op("Relu", [gradients]) * activations * (1 / scale))


def hi_res_cam(builder: GraphBuilder, activations: ir.Value, gradients: ir.Value, scale: float) -> ir.Value:
    """w_k = g_k at every pixel.

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, arXiv:2011.08891, equation 5
    """
    return sum_channels(builder, gradients * activations * (1 / scale))


CAM_METHODS: Mapping[Method, CamMethod] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "xgradcam": x_grad_cam,
    "layercam": layer_cam,
    "hirescam": hi_res_cam,
}
"""Each method by its name."""


def mean_over_space(builder: GraphBuilder, gradients: ir.Value) -> ir.Value:
    """Append the mean over the pixels of gradients (N, C, h, w).

    Under global average pooling the gradient is the same at every pixel: an Expand repeats it, the input of
    that Expand is its mean, and no pass over the pixels is left in the graph.

    Returns:
        The mean, shape (N, C); (N, C, 1, 1) where it is the input of an Expand.
    """
    repeat = gradients.producer()
    if repeat is not None and repeat.op_type == "Expand":
        source = repeat.inputs[0]
        if source is not None and source.shape is not None and set(dimensions(source)[2:]) == {1}:
            return source
    return builder.op("ReduceMean", [gradients, builder.integers([2, 3])], {"keepdims": 0})


def weigh(builder: GraphBuilder, activations: ir.Value, weights: ir.Value) -> ir.Value:
    """Append the sum over k of w_k A_k as a product of matrices.

    ONNX Runtime takes eight times as long for a ReduceSum over the channels.

    Args:
        activations: A, shape (N, C, h, w).
        weights: w, of N C elements.

    Returns:
        The sum, shape (N, h, w).
    """
    pixels = builder.reshape(activations, [0, 0, -1])  # (N, C, h w)
    product = builder.op("MatMul", [builder.reshape(weights, [0, 1, -1]), pixels])  # (N, 1, h w)
    return _without_channels(builder, product, activations)


def sum_channels(builder: GraphBuilder, value: ir.Value) -> ir.Value:
    """Append the sum over the channels of (N, C, h, w), shape (N, h, w)."""
    return builder.op("ReduceSum", [value, builder.integers([1])], {"keepdims": 0})


def _without_channels(builder: GraphBuilder, value: ir.Value, activations: ir.Value) -> ir.Value:
    space = dimensions(activations)[2:]
    if None in space:
        shape = builder.op("Concat", [builder.integers([0]), builder.shape(activations, 2)], {"axis": 0})
    else:
        shape = builder.integers([0, *(size for size in space if size is not None)])
    return builder.op("Reshape", [value, shape])  # (N, h, w)
