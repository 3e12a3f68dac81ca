"""Rules of pooling over windows. Channels become images of one channel: (N, C, h, w) to (N C, 1, h, w)."""

import math
from itertools import product

import numpy as np
import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.nodes import required
from onnx_gradcam.values import dimensions, element_type
from onnx_gradcam.vjp.registry import Cotangents, rule
from onnx_gradcam.vjp.transposed import spread
from onnx_gradcam.vjp.window import Window, fixed, window_of


@rule("AveragePool")
def average_pool(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = mean of x over a window: each pixel of the window gets g / (number of pixels averaged)."""
    x = required(node, 0)
    window = window_of(node, list(node.attributes["kernel_shape"].as_ints()))
    share = _as_images(builder, g / _pixels_averaged(builder, node, window, x), node.outputs[0])
    ones = builder.array_like(np.ones((1, 1, *window.kernel)), x)
    images = _as_images(builder, x, x)
    return {0: builder.op("Reshape", [spread(builder, share, ones, window, 1, images), builder.shape(x)])}


@rule("MaxPool")
def max_pool(builder: GraphBuilder, node: ir.Node, g: ir.Value) -> Cotangents:
    """For y = max of x over a window: the first pixel of the window that is equal to y gets g.

    Pixel k of every window is a slice of x with the stride as its step. Engines have no common operator for
    the place of a maximum in overlapping windows, but all compare slices, and the comparison is exact.
    """
    x, y = required(node, 0), node.outputs[0]
    window = window_of(node, list(node.attributes["kernel_shape"].as_ints()))
    padded = _padded(builder, _as_images(builder, x, x), window)
    images, cotangent = _as_images(builder, y, y), _as_images(builder, g, y)
    free = builder.number_like(1, g)  # whether no pixel of the window was equal so far
    shares: list[ir.Value] = []
    for offset in product(*map(range, window.kernel)):
        found = builder.where_equal(_pixel(builder, padded, window, offset), images, like=g) * free
        free = free - found
        shares.append(cotangent * found)
    stacked = builder.op("Concat", shares, {"axis": 1}) if len(shares) > 1 else shares[0]  # (N C, K, oh, ow)
    places = np.eye(len(shares)).reshape(len(shares), 1, *window.kernel)
    result = spread(builder, stacked, builder.array_like(places, x), window, 1, _as_images(builder, x, x))
    return {0: builder.op("Reshape", [result, builder.shape(x)])}


def _as_images(builder: GraphBuilder, value: ir.Value, like: ir.Value) -> ir.Value:
    """Append (N, C, h, w) as (N C, 1, h, w)."""
    space = dimensions(like)[2:]
    if None in space:
        shape = builder.op("Concat", [builder.integers([-1, 1]), builder.shape(like, 2)], {"axis": 0})
    else:
        shape = builder.integers([-1, 1, *fixed(space)])
    images = builder.op("Reshape", [value, shape])
    images.shape = ir.Shape([None, 1, *space])
    return images


def _pixels_averaged(builder: GraphBuilder, node: ir.Node, window: Window, x: ir.Value) -> ir.Value:
    """Append the number of pixels of each mean: padding may count, pixels beyond it never do."""
    counts_padding = node.attributes.get_int("count_include_pad", 0)
    if not any(window.begin + window.end) and not node.attributes.get_int("ceil_mode", 0):
        return builder.number_like(math.prod(window.kernel), x)
    window.overhang()  # sizes have to be fixed
    counts = []
    for axis, size in enumerate(fixed(window.sizes)):
        first = -window.begin[axis] if counts_padding else 0
        last = size + window.end[axis] if counts_padding else size
        taps = window.taps(axis)
        counts.append(((taps >= first) & (taps < last)).sum(axis=1))
    grid = np.ones((1, 1, *map(len, counts)))
    for axis, count in enumerate(counts):
        grid = grid * np.expand_dims(
            count, [0, 1, *(2 + other for other in range(len(counts)) if other != axis)]
        )
    return builder.array_like(grid, x)


def _padded(builder: GraphBuilder, images: ir.Value, window: Window) -> ir.Value:
    """Append the pixels that windows read beyond the input, smaller than every other."""
    if not window.is_fixed and not any(window.begin + window.end) and not _rounds_up(window):
        return images
    margin = [max(pixels, 0) for pixels in window.overhang()]
    if not any(window.begin + margin):
        return images
    pads = builder.integers([0, 0, *window.begin, 0, 0, *margin])
    lowest = builder.constant(np.array(element_type(images).min, element_type(images).numpy()))
    return builder.op("Pad", [images, pads, lowest])


def _rounds_up(window: Window) -> bool:
    return bool(window.node.attributes.get_int("ceil_mode", 0))


def _pixel(builder: GraphBuilder, padded: ir.Value, window: Window, offset: tuple[int, ...]) -> ir.Value:
    """Append the pixel of every window at an offset within it, shape (N C, 1, oh, ow)."""
    axes = range(2, 2 + len(offset))
    starts = [place * dilation for place, dilation in zip(offset, window.dilations, strict=True)]
    if window.is_fixed:
        ends = [
            start + (output - 1) * stride + 1
            for start, output, stride in zip(starts, fixed(window.output_sizes), window.strides, strict=True)
        ]
    else:  # as many pixels from the end as the rest of the window has
        ends = [
            start - reach if start < reach else np.iinfo(np.int64).max
            for start, reach in zip(starts, window.reach, strict=True)
        ]
    bounds = [builder.integers(numbers) for numbers in (starts, ends, axes, window.strides)]
    return builder.op("Slice", [padded, *bounds])
