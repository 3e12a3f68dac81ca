"""The backward half of a convolution, in the form that inference engines run fastest.

The weight of the forward Conv is not copied: the weight of the backward operator is an expression over it
(scaled, flipped, transposed), which every engine turns into a constant of its own when it loads the graph. So
the files hold each weight once.
"""

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import required
from onnx_gradcam.values import dimensions
from onnx_gradcam.vjp.weights import own_copy, reverse
from onnx_gradcam.vjp.window import Window, fixed, window_of

_CHANNEL_SCALE = "onnx_gradcam.channel_scale"
"""Key in a value's meta: the vector (C,) of which the value is a reshaped copy."""


def channel_scale(builder: GraphBuilder, node: ir.Node) -> ir.Value:
    """Append s = scale / sqrt(var + epsilon) of a BatchNormalization, shape (C,): a factor per channel."""
    _, scale, _, _, variance = node.inputs
    assert variance is not None, "BatchNormalization requires five inputs"
    epsilon = builder.number_like(node.attributes.get_float("epsilon", 1e-5), variance)
    deviation = builder.op("Sqrt", [builder.op("Add", [variance, epsilon])])
    return builder.op("Div", [scale, deviation])


def scale_channels(builder: GraphBuilder, cotangent: ir.Value, scale: ir.Value) -> ir.Value:
    """Append a cotangent (N, C, ...) with each channel multiplied by its entry of a scale (C,)."""
    space = len(dimensions(cotangent)) - 2
    factor = builder.reshape(scale, [-1] + [1] * space)  # (C, 1, 1)
    factor.meta[_CHANNEL_SCALE] = scale
    return builder.op("Mul", [cotangent, factor])


def split_channel_scale(cotangent: ir.Value) -> tuple[ir.Value, ir.Value | None]:
    """Undo `scale_channels`, so that a Conv can apply the scale to its weight instead.

    Args:
        cotangent: Shape (N, C, ...).

    Returns:
        The cotangent before it was scaled, and the scale (C,); the cotangent itself and None if it was not.
    """
    product = cotangent.producer()
    if product is None or product.op_type != "Mul":
        return cotangent, None
    unscaled, factor = product.inputs
    if unscaled is None or factor is None or _CHANNEL_SCALE not in factor.meta:
        return cotangent, None
    return unscaled, factor.meta[_CHANNEL_SCALE]


def transpose_convolution(
    builder: GraphBuilder, node: ir.Node, cotangent: ir.Value, scale: ir.Value | None
) -> ir.Value:
    """Append the transposed convolution of (cotangent * scale) with the weight of a Conv.

    Args:
        node: The forward Conv.
        cotangent: Cotangent of its output before the scale, shape (N, C_out, ...).
        scale: Factor of each output channel, shape (C_out,), or None.

    Returns:
        Cotangent of its first input, shape (N, C_in, ...).
    """
    weight = _scaled_weight(builder, node, scale)
    sizes = fixed(dimensions(required(node, 1)))  # C_out, C_in / group, kh, kw
    window = window_of(node, sizes[2:])
    group = node.attributes.get_int("group", 1)
    if _is_plain(window):
        return _as_convolution(builder, cotangent, weight, sizes, window, group)
    if weight is node.inputs[1]:
        weight = own_copy(builder, weight)
    return spread(builder, cotangent, weight, window, group, required(node, 0))


def _is_plain(window: Window) -> bool:
    """Tell whether the backward half is an ordinary convolution, which every engine runs at full speed."""
    pads = zip(window.begin + window.end, window.reach * 2, strict=True)
    return set(window.strides) == {1} and all(pad <= reach for pad, reach in pads)


def _scaled_weight(builder: GraphBuilder, node: ir.Node, scale: ir.Value | None) -> ir.Value:
    weight = required(node, 1)
    if scale is None:
        return weight
    return builder.op("Mul", [weight, builder.reshape(scale, [-1] + [1] * (len(dimensions(weight)) - 1))])


def _as_convolution(
    builder: GraphBuilder,
    cotangent: ir.Value,
    weight: ir.Value,
    sizes: list[int],
    window: Window,
    group: int,
) -> ir.Value:
    """Append dl/dX[c, i] = sum over o and k of G[o, i + p - d k] W[o, c, k]: a Conv with the flipped kernel.

    With k' = K - 1 - k in place of k its padding becomes d (K - 1) - p. With groups, each has channels of its
    own to sum over.
    """
    if flipped := [axis for axis, size in enumerate(window.kernel, start=2) if size > 1]:
        weight = reverse(builder, weight, flipped, [sizes[axis] for axis in flipped])
    weight = _swap_channels(builder, weight, sizes, group)  # (C_in, C_out / group, kh, kw)
    pads = [reach - pad for reach, pad in zip(window.reach * 2, window.begin + window.end, strict=True)]
    attributes: dict[str, int | list[int]] = {
        "kernel_shape": window.kernel,
        "dilations": window.dilations,
        "pads": pads,
    }
    if group > 1:
        attributes["group"] = group
    return builder.op("Conv", [cotangent, weight], attributes)


def _swap_channels(builder: GraphBuilder, weight: ir.Value, sizes: list[int], group: int) -> ir.Value:
    """Turn (C_out, C_in / group, ...) into (C_in, C_out / group, ...)."""
    outer, inner, *kernel = sizes
    if group > 1 and outer == group and inner == 1:  # depthwise: one channel to sum over
        return weight
    space = range(2, 2 + len(kernel))
    if group == 1:
        return builder.op("Transpose", [weight], {"perm": [1, 0, *space]})
    grouped = builder.reshape(weight, [group, outer // group, inner, *kernel])
    swapped = builder.op("Transpose", [grouped], {"perm": [0, 2, 1, *(axis + 1 for axis in space)]})
    return builder.reshape(swapped, [group * inner, outer // group, *kernel])


def spread(
    builder: GraphBuilder,
    cotangent: ir.Value,
    weight: ir.Value,
    window: Window,
    group: int,
    x: ir.Value,
) -> ir.Value:
    """Append the transposed convolution that adds each window's cotangent to the pixels that it read.

    ConvTranspose with the forward attributes is the vector-Jacobian product of Conv by its definition. Where
    the stride does not divide the input evenly, the forward operator leaves pixels at the end unread, and
    several input sizes give the same output size. They come back by cropping less, or by output_padding
    where there is nothing to crop.

    Args:
        cotangent: Cotangent of the windows, shape (N, C_out, ...).
        weight: Weight of each pixel of a window, shape (C_out, C_in / group, kh, kw).
        window: How the windows slide.
        group: Groups of channels.
        x: Value that the windows slide over, shape (N, C_in, ...).

    Returns:
        Cotangent of x.
    """
    attributes: dict[str, int | list[int]] = {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "group": group,
    }
    if not window.is_fixed and set(window.strides) != {1}:
        attributes["pads"] = window.begin + [0] * len(window.kernel)
        return _fit(builder, builder.op("ConvTranspose", [cotangent, weight], attributes), x)
    overhang = window.overhang() if window.is_fixed else window.end
    attributes["pads"] = window.begin + [max(pixels, 0) for pixels in overhang]
    if min(overhang) < 0:
        attributes["output_padding"] = [max(-pixels, 0) for pixels in overhang]
    return builder.op("ConvTranspose", [cotangent, weight], attributes)


def _fit(builder: GraphBuilder, value: ir.Value, x: ir.Value) -> ir.Value:
    """Append the value with the end of each axis of space cut or filled to the size of x at run time."""
    rank = len(dimensions(x))
    missing = builder.op("Sub", [builder.shape(x, 2), builder.op("Shape", [value], {"start": 2})])
    none = builder.integers([0] * (rank - 2))
    axes = builder.integers(range(2, rank))
    pads = builder.op("Concat", [none, missing], {"axis": 0})
    return builder.op("Pad", [value, pads, None, axes])
