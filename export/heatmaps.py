"""From raw heatmaps to the input of the U-Net: the ONNX form of `train.gradcam.stack_heatmaps`."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.heatmaps import divide_by_maximum, resize_maps
from onnx_gradcam.values import dimensions


def stack_heatmaps(builder: GraphBuilder, raw_heatmaps: Sequence[ir.Value], size_px: int) -> ir.Value:
    """Append what `train.gradcam.stack_heatmaps` computes: the input H of the U-Net.

    Args:
        raw_heatmaps: Maps of shape (N, h, w) of any sizes.
        size_px: Height and width of the result.

    Returns:
        Heatmaps in [0, 1], shape (N, B, size_px, size_px).
    """
    resized = [resize_maps(builder, group, (size_px, size_px)) for group in _groups(builder, raw_heatmaps)]
    stacked = builder.op("Concat", resized, {"axis": 1})  # (N, B, S, S)
    stacked.type = raw_heatmaps[0].type
    return divide_by_maximum(builder, stacked)[0]


def _groups(builder: GraphBuilder, raw_heatmaps: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """Join neighbours of one size to (N, K, h, w): one Resize for three maps is faster than three."""
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
