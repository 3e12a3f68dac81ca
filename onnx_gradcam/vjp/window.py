"""The windows that a convolution or pooling slides over its input."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.nodes import required
from onnx_gradcam.values import dimensions


@dataclass(frozen=True)
class Window:
    """Attributes of the operator with their defaults filled in, one entry per axis of space."""

    node: ir.Node
    """The operator."""
    sizes: list[int | None]
    """Height and width of the input, None where not fixed."""
    output_sizes: list[int | None]
    """Height and width of the output."""
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begin: list[int]
    """Padding before."""
    end: list[int]
    """Padding after, as the node says; with ceil_mode the last window may reach beyond it."""

    @property
    def reach(self) -> list[int]:
        """Distance between the first and last input pixel under the kernel."""
        return [dilation * (size - 1) for dilation, size in zip(self.dilations, self.kernel, strict=True)]

    @property
    def is_fixed(self) -> bool:
        """Whether height and width are known."""
        return None not in self.sizes and None not in self.output_sizes

    def overhang(self) -> list[int]:
        """Return how many pixels the last window reaches beyond the end of each axis; below 0, leaves unread.

        Raises:
            UnsupportedOperatorError: If height and width are not fixed.
        """
        if not self.is_fixed:
            raise UnsupportedOperatorError(
                f"node {self.node.name!r} ({self.node.op_type}) slides over an input whose size is not "
                "fixed: expected a graph with a fixed height and width"
            )
        return [
            (output - 1) * stride + reach + 1 - begin - size
            for size, output, stride, reach, begin in zip(
                fixed(self.sizes), fixed(self.output_sizes), self.strides, self.reach, self.begin, strict=True
            )
        ]

    def taps(self, axis: int) -> NDArray[np.integer]:
        """Return which input pixels the windows along an axis of space read; -1 and beyond are padding.

        Returns:
            Places, shape (output size, kernel size).
        """
        output = fixed(self.output_sizes)[axis]
        first = np.arange(output)[:, None] * self.strides[axis] - self.begin[axis]
        return np.asarray(first + np.arange(self.kernel[axis]) * self.dilations[axis])


def window_of(node: ir.Node, kernel: list[int]) -> Window:
    """Read the windows of a Conv, AveragePool or MaxPool from its attributes.

    Args:
        node: The operator.
        kernel: Size of its kernel.

    Raises:
        UnsupportedOperatorError: If it pads automatically and its sizes are not fixed.
    """
    ones = [1] * len(kernel)
    sizes, output_sizes = dimensions(required(node, 0))[2:], dimensions(node.outputs[0])[2:]
    strides = list(node.attributes.get_ints("strides", ones))
    dilations = list(node.attributes.get_ints("dilations", ones))
    pads = list(node.attributes.get_ints("pads", [0] * 2 * len(kernel)))
    window = Window(
        node, sizes, output_sizes, kernel, strides, dilations, pads[: len(kernel)], pads[len(kernel) :]
    )
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        return window
    # As much as makes the output the input's size divided by the stride; an odd pixel goes to the named end.
    unpadded = Window(
        node, sizes, output_sizes, kernel, strides, dilations, [0] * len(kernel), [0] * len(kernel)
    )
    total = [max(pad, 0) for pad in unpadded.overhang()]
    less, more = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    begin, end = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return Window(node, sizes, output_sizes, kernel, strides, dilations, begin, end)


def fixed(sizes: list[int | None]) -> list[int]:
    """Narrow sizes that are known to be fixed, for the type checker."""
    return [size for size in sizes if size is not None]
