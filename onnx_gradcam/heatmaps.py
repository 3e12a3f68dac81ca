"""From raw heatmaps to what a bundle's graphs return: the ONNX form of the ends of train/gradcam.py."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder, dimensions


def stack_heatmaps(builder: GraphBuilder, raw_heatmaps: Sequence[ir.Value], size_px: int) -> ir.Value:
    """Appends what `train.gradcam.stack_heatmaps` computes: the input H of the U-Net.

    Args:
        builder: Builder on the graph.
        raw_heatmaps: Maps of shape (N, h, w) of any sizes.
        size_px: Height and width of the result.

    Returns:
        Heatmaps in [0, 1], shape (N, B, size_px, size_px).
    """
    resized = [resize_maps(builder, group, (size_px, size_px)) for group in _groups(builder, raw_heatmaps)]
    stacked = builder.op("Concat", resized, {"axis": 1})  # (N, B, S, S)
    stacked.type = raw_heatmaps[0].type
    return divide_by_maximum(builder, stacked)[0]


def divide_by_maximum(builder: GraphBuilder, heatmaps: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Appends what `train.gradcam.divide_by_maximum` computes.

    Args:
        builder: Builder on the graph.
        heatmaps: Values that are not negative, shape (..., h, w).

    Returns:
        Each map divided by its own maximum, zeros where it is all zero; and the maxima, shape (..., 1, 1).
    """
    maximum = builder.op("ReduceMax", [heatmaps, builder.integers([-2, -1])], {"keepdims": 1})
    positive = builder.op("Greater", [maximum, builder.number_like(0, heatmaps)])
    divisor = builder.op("Where", [positive, maximum, builder.number_like(1, heatmaps)])
    return builder.op("Div", [heatmaps, divisor]), maximum


def _groups(builder: GraphBuilder, raw_heatmaps: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """Joins neighbours of one size to (N, K, h, w): one Resize for three maps is faster than three."""
    axis = builder.integers([1])
    for _, maps in groupby(raw_heatmaps, key=lambda raw: tuple(dimensions(raw)[1:])):
        group = list(maps)
        channels = [builder.op("Unsqueeze", [raw, axis]) for raw in group]
        joined = builder.op("Concat", channels, {"axis": 1}) if len(channels) > 1 else channels[0]
        joined.type = group[0].type
        shape = group[0].shape
        assert shape is not None, "heatmaps come with their shapes"
        joined.shape = ir.Shape([shape[0], len(group), *shape[1:]])
        yield joined


def resize_maps(builder: GraphBuilder, maps: ir.Value, size: tuple[int, int] | ir.Value) -> ir.Value:
    """Bilinear resize of maps, with PyTorch's align_corners=False, which ONNX calls half_pixel.

    By whole factors where they are whole: then every engine knows the resulting size when it loads the graph.

    Args:
        builder: Builder on the graph.
        maps: Shape (N, K, h, w).
        size: (height, width) in pixels, or an int64 vector of both.

    Returns:
        Maps of that size.
    """
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if isinstance(size, tuple):
        factors = [new / old for new, old in zip(size, dimensions(maps)[2:], strict=True) if old is not None]
        if len(factors) == 2 and all(factor.is_integer() for factor in factors):
            scales = builder.constant(np.array([1, 1, *factors], np.float32))
            return builder.op("Resize", [maps, None, scales], attributes)
        size = builder.integers(size)
    sizes = builder.op("Concat", [builder.op("Shape", [maps], {"end": 2}), size], {"axis": 0})
    return builder.op("Resize", [maps, None, None, sizes], attributes)
