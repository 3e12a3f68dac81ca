"""The size of a classifier's images, which heatmaps are resized to."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import OptionError
from onnx_gradcam.heatmaps import resize_maps
from onnx_gradcam.values import dimensions

_COLOURS = (1, 3, 4)
"""Sizes of an axis of colours: grey, RGB, RGB with transparency."""


@dataclass(frozen=True)
class ImageInput:
    """The input of a graph that holds images, and where their size is in its shape."""

    value: ir.Value
    """The input."""
    start: int
    """Axis of the height; the next is the width."""


def find_image(graph: ir.Graph) -> ImageInput | None:
    """Find the first input (N, C, H, W) or (N, H, W, C) of up to four colours; None where there is none."""
    for value in graph.inputs:
        sizes = dimensions(value) if value.shape is not None else []
        if len(sizes) == 4 and not value.is_initializer():
            for axis, start in ((1, 2), (3, 1)):
                if sizes[axis] in _COLOURS:
                    return ImageInput(value, start)
    return None


def resize_to_image(
    builder: GraphBuilder, heatmap: ir.Value, image: ImageInput | None
) -> tuple[ir.Value, Sequence[int | ir.SymbolicDim]]:
    """Append the heatmap at the size of the images.

    Args:
        heatmap: Shape (N, h, w).
        image: From `find_image`.

    Returns:
        The heatmap, shape (N, H, W); and (H, W).

    Raises:
        OptionError: If the graph has no image.
    """
    if image is None or image.value.shape is None or heatmap.shape is None:
        raise OptionError(
            "no input of the graph is an image, (N, C, H, W) or (N, H, W, C) with up to four colours: "
            "heatmaps cannot have its size, leave them as they are with --resize none"
        )
    end = image.start + 2
    height, width = dimensions(image.value)[image.start : end]
    size: tuple[int, int] | ir.Value = builder.shape(image.value, image.start, end)
    if height is not None and width is not None:
        size = (height, width)
    axis = builder.integers([1])
    maps = builder.op("Unsqueeze", [heatmap, axis])  # (N, 1, h, w)
    maps.shape = ir.Shape([heatmap.shape[0], 1, *heatmap.shape[1:]])
    resized = builder.op("Squeeze", [resize_maps(builder, maps, size), axis])  # (N, H, W)
    return resized, image.value.shape[image.start : end]
