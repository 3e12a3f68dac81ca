"""The backward half of a convolution, in the form that inference engines run fastest.

The weight of the forward Conv is not copied: what the backward operator needs is written as an expression
over the forward weight (scaled, flipped, transposed), and every engine folds it to a constant of its own when
it loads the graph. So the files hold each weight once.

The expression also keeps a ConvTranspose from reading the very weight of a forward Conv, where OpenVINO
2026.4 computes wrong numbers without an error (as many input as output channels: a relative error of 1.3).
"""

from dataclasses import dataclass

import onnx_ir as ir

from biounet_edge.errors import ExportError
from export.builder import GraphBuilder, dimensions

_CHANNEL_SCALE = "biounet_edge.channel_scale"
"""Key in a value's meta: the vector (C,) of which the value is a reshaped copy."""


def channel_scale(builder: GraphBuilder, node: ir.Node) -> ir.Value:
    """Appends s = scale / sqrt(var + epsilon) of a BatchNormalization.

    Args:
        builder: Builder on the graph.
        node: The BatchNormalization.

    Returns:
        Factor of each channel, shape (C,).
    """
    _, scale, _, _, variance = node.inputs
    assert variance is not None, "BatchNormalization requires five inputs"
    epsilon = builder.number_like(node.attributes.get_float("epsilon", 1e-5), variance)
    deviation = builder.op("Sqrt", [builder.op("Add", [variance, epsilon])])
    return builder.op("Div", [scale, deviation])


def scale_channels(builder: GraphBuilder, cotangent: ir.Value, scale: ir.Value) -> ir.Value:
    """Multiplies each channel of a cotangent by a constant.

    Args:
        builder: Builder on the graph.
        cotangent: Shape (N, C, ...).
        scale: Shape (C,).

    Returns:
        The product, shape (N, C, ...).
    """
    space = len(dimensions(cotangent)) - 2
    factor = builder.reshape(scale, [-1] + [1] * space)  # (C, 1, 1)
    factor.meta[_CHANNEL_SCALE] = scale
    return builder.op("Mul", [cotangent, factor])


def split_channel_scale(cotangent: ir.Value) -> tuple[ir.Value, ir.Value | None]:
    """Takes back what `scale_channels` did, for a Conv to apply it to its weight instead.

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


@dataclass(frozen=True)
class _Geometry:
    """Attributes of a Conv with their defaults filled in, one entry per axis of space."""

    sizes: list[int | None]
    """Height and width of the input, None where not fixed."""
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begin: list[int]
    """Padding before."""
    end: list[int]
    """Padding after."""
    group: int

    @property
    def reach(self) -> list[int]:
        """Distance between the first and last input pixel under the kernel."""
        return [dilation * (size - 1) for dilation, size in zip(self.dilations, self.kernel, strict=True)]

    @property
    def is_plain(self) -> bool:
        """Whether the backward half is an ordinary convolution, which every engine runs at full speed."""
        pads = zip(self.begin + self.end, self.reach * 2, strict=True)
        return self.group == 1 and set(self.strides) == {1} and all(pad <= reach for pad, reach in pads)


def transpose_convolution(
    builder: GraphBuilder, node: ir.Node, cotangent: ir.Value, scale: ir.Value | None
) -> ir.Value:
    """Appends the transposed convolution of (cotangent * scale) with the weight of a Conv.

    Args:
        builder: Builder on the graph.
        node: The forward Conv.
        cotangent: Cotangent of its output without the scale, shape (N, C_out, ...).
        scale: Factor of each output channel, shape (C_out,), or None.

    Returns:
        Cotangent of its first input, shape (N, C_in, ...).
    """
    geometry = _geometry(node)
    weight = _scaled_weight(builder, node, scale)  # (C_out, C_in / group, kh, kw)
    if geometry.is_plain:
        return _as_convolution(builder, cotangent, weight, geometry)
    return _as_transposed(builder, node, cotangent, weight, geometry)


def _scaled_weight(builder: GraphBuilder, node: ir.Node, scale: ir.Value | None) -> ir.Value:
    weight = node.inputs[1]
    assert weight is not None, "Conv requires a weight"
    if scale is None:
        return weight
    return builder.op("Mul", [weight, builder.reshape(scale, [-1] + [1] * (len(dimensions(weight)) - 1))])


def _as_convolution(
    builder: GraphBuilder, cotangent: ir.Value, weight: ir.Value, geometry: _Geometry
) -> ir.Value:
    """dl/dX[c, i] = sum over o and k of G[o, i + p - d k] W[o, c, k]: a convolution with the flipped kernel.

    With k' = K - 1 - k in place of k its padding becomes d (K - 1) - p.
    """
    if flipped := [axis + 2 for axis, size in enumerate(geometry.kernel) if size > 1]:
        weight = _reverse(builder, weight, flipped, [geometry.kernel[axis - 2] for axis in flipped])
    perm = [1, 0, *range(2, 2 + len(geometry.kernel))]
    weight = builder.op("Transpose", [weight], {"perm": perm})  # (C_in, C_out, kh, kw)
    pads = [reach - pad for reach, pad in zip(geometry.reach * 2, geometry.begin + geometry.end, strict=True)]
    attributes = {"kernel_shape": geometry.kernel, "dilations": geometry.dilations, "pads": pads}
    return builder.op("Conv", [cotangent, weight], attributes)


def _as_transposed(
    builder: GraphBuilder, node: ir.Node, cotangent: ir.Value, weight: ir.Value, geometry: _Geometry
) -> ir.Value:
    """ConvTranspose with the forward attributes is the vector-Jacobian product of Conv by its definition.

    Where the stride does not divide the input evenly, the forward Conv leaves `rest` pixels at the end
    unread, and several input sizes give the same output size. They come back by cropping less, or by
    output_padding where there is nothing to crop.
    """
    if weight is node.inputs[1]:
        weight = _own_copy(builder, weight)
    rest = _rest(node, geometry)
    crops = [min(pad, left) for pad, left in zip(geometry.end, rest, strict=True)]
    attributes: dict[str, int | list[int]] = {
        "kernel_shape": geometry.kernel,
        "strides": geometry.strides,
        "dilations": geometry.dilations,
        "group": geometry.group,
        "pads": geometry.begin + [pad - crop for pad, crop in zip(geometry.end, crops, strict=True)],
    }
    if rest != crops:
        attributes["output_padding"] = [left - crop for left, crop in zip(rest, crops, strict=True)]
    return builder.op("ConvTranspose", [cotangent, weight], attributes)


def _own_copy(builder: GraphBuilder, weight: ir.Value) -> ir.Value:
    """The same numbers as a constant of their own, for the reason in this module's docstring.

    Reversed twice: OpenVINO folds that to a new constant. It sees through an Identity, a product with one,
    two transpositions, two Reshapes and a Gather of everything, and then returns wrong numbers.
    """
    outputs = [size for size in dimensions(weight)[:1] if size is not None]
    return _reverse(builder, _reverse(builder, weight, [0], outputs), [0], outputs)


def _reverse(builder: GraphBuilder, value: ir.Value, axes: list[int], sizes: list[int]) -> ir.Value:
    """Turns axes around: from the last entry, -1, down to before the first, which is -1 - size."""
    steps = [-1] * len(axes)
    bounds = [builder.integers(values) for values in (steps, [-1 - size for size in sizes], axes, steps)]
    return builder.op("Slice", [value, *bounds])


def _rest(node: ir.Node, geometry: _Geometry) -> list[int]:
    """Pixels at the end of each axis that the forward Conv does not read."""
    if set(geometry.strides) == {1}:
        return [0] * len(geometry.strides)
    if None in geometry.sizes:
        raise ExportError(
            f"node {node.name!r} (Conv) has a stride, and its input size is not fixed: expected a graph with "
            "a fixed height and width"
        )
    padded = [
        size + begin + end
        for size, begin, end in zip(_fixed(geometry.sizes), geometry.begin, geometry.end, strict=True)
    ]
    return [
        (size - reach - 1) % stride
        for size, reach, stride in zip(padded, geometry.reach, geometry.strides, strict=True)
    ]


def _fixed(sizes: list[int | None]) -> list[int]:
    return [size for size in sizes if size is not None]


def _geometry(node: ir.Node) -> _Geometry:
    """Reads the attributes of a Conv.

    Raises:
        ExportError: If it pads automatically.
    """
    x, weight = node.inputs[:2]
    assert x is not None, "Conv requires an input"
    assert weight is not None, "Conv requires a weight"
    kernel = _fixed(dimensions(weight)[2:])
    ones = [1] * len(kernel)
    if (automatic := node.attributes.get_string("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise ExportError(f"node {node.name!r} (Conv) has auto_pad {automatic}: expected explicit pads")
    pads = list(node.attributes.get_ints("pads", [0] * 2 * len(kernel)))
    return _Geometry(
        sizes=dimensions(x)[2:],
        kernel=kernel,
        strides=list(node.attributes.get_ints("strides", ones)),
        dilations=list(node.attributes.get_ints("dilations", ones)),
        begin=pads[: len(kernel)],
        end=pads[len(kernel) :],
        group=node.attributes.get_int("group", 1),
    )
