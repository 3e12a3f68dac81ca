"""Rules of operators that slide windows over images, or stretch them."""

import math
from collections.abc import Callable, Sequence

from biounet_edge.bundle.nodes import Node
from biounet_edge.bundle.shapes.inputs import Inputs, Shape


def _window(node: Node, shape: Shape, kernel: Sequence[int]) -> Shape:
    """Return height and width after a convolution or pooling."""
    space, ones = shape[2:], [1] * len(kernel)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    automatic = node.text("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        return tuple(-(-size // stride) for size, stride in zip(space, strides, strict=True))
    pads = node.integers("pads", [0] * 2 * len(kernel)) if automatic == "NOTSET" else [0] * 2 * len(kernel)
    result = []
    for i, (size, side, stride, dilation) in enumerate(zip(space, kernel, strides, dilations, strict=True)):
        free = size + pads[i] + pads[i + len(kernel)] - dilation * (side - 1) - 1
        result.append((-(-free // stride) if node.integer("ceil_mode", 0) else free // stride) + 1)
    return tuple(result)


def _conv(node: Node, inputs: Inputs) -> Shape:
    image, weights = inputs.tensor(0).shape, inputs.tensor(1).shape
    return image[0], weights[0], *_window(node, image, weights[2:])


def _conv_transpose(node: Node, inputs: Inputs) -> Shape:
    image, weights = inputs.tensor(0).shape, inputs.tensor(1).shape
    kernel, ones = weights[2:], [1] * len(weights[2:])
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    pads, more = (
        node.integers("pads", [0] * 2 * len(kernel)),
        node.integers("output_padding", [0] * len(kernel)),
    )
    channels = weights[1] * node.integer("group", 1)
    if "output_shape" in node.attributes:
        return image[0], channels, *node.integers("output_shape")
    space = (
        stride * (size - 1) + more[i] + dilation * (side - 1) + 1 - pads[i] - pads[i + len(kernel)]
        for i, (size, side, stride, dilation) in enumerate(
            zip(image[2:], kernel, strides, dilations, strict=True)
        )
    )
    return image[0], channels, *space


def _pool(node: Node, inputs: Inputs) -> list[Shape]:
    image = inputs.tensor(0).shape
    return [(*image[:2], *_window(node, image, node.integers("kernel_shape")))] * 2


def _global_pool(node: Node, inputs: Inputs) -> Shape:
    image = inputs.tensor(0).shape
    return image[:2] + (1,) * (len(image) - 2)


def _resize(node: Node, inputs: Inputs) -> Shape:
    shape = inputs.tensor(0).shape
    axes = node.integers("axes", range(len(shape)))
    scales = inputs.numbers(1 if len(inputs) == 2 else 2, "scales")
    sizes, wanted = list(shape), inputs.numbers(3, "sizes")
    for i, axis in enumerate(axes):
        if wanted is not None:  # where an aspect is kept, at most these
            sizes[axis] = wanted[i]
        elif scales is not None and math.isfinite(scales[i]):
            sizes[axis] = math.floor(shape[axis] * scales[i])
        else:
            raise ValueError("a Resize has neither sizes nor scales")
    return tuple(sizes)


def _depth_to_space(node: Node, inputs: Inputs) -> Shape:
    n, channels, height, width = inputs.tensor(0).shape
    block = node.integer("blocksize", 1)
    return n, channels // block**2, height * block, width * block


def _space_to_depth(node: Node, inputs: Inputs) -> Shape:
    n, channels, height, width = inputs.tensor(0).shape
    block = node.integer("blocksize", 1)
    return n, channels * block**2, height // block, width // block


WINDOWS: dict[str, Callable[[Node, Inputs], Shape | list[Shape]]] = {
    "AveragePool": _pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MaxPool": _pool,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
}
"""By operator."""
