"""Raw heatmaps resized, and divided by their maximum."""

import numpy as np
import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions


def divide_by_maximum(builder: GraphBuilder, heatmaps: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Append each heatmap divided by its own maximum.

    Args:
        heatmaps: Values that are not negative, shape (..., h, w).

    Returns:
        Heatmaps in [0, 1], zeros where one is all zero; and the maxima, shape (..., 1, 1).
    """
    maximum = builder.op("ReduceMax", [heatmaps, builder.integers([-2, -1])], {"keepdims": 1})
    positive = builder.op("Greater", [maximum, builder.number_like(0, heatmaps)])
    divisor = builder.op("Where", [positive, maximum, builder.number_like(1, heatmaps)])
    return builder.op("Div", [heatmaps, divisor]), maximum


def resize_maps(builder: GraphBuilder, maps: ir.Value, size: tuple[int, int] | ir.Value) -> ir.Value:
    """Append a bilinear resize, with PyTorch's align_corners=False, which ONNX calls half_pixel.

    By whole factors where they are whole: then every engine knows the resulting size when it loads the graph.

    Args:
        maps: Shape (N, K, h, w).
        size: (height, width) in pixels, or an int64 vector of both.
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
