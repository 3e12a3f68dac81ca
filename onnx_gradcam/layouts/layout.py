"""What a layout is, and how a value of any layout becomes maps."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions


@dataclass(frozen=True)
class Layout:
    """Which axes of a value are what; axis 0 is the batch."""

    channel: int
    """Axis of the channels."""
    space: tuple[int, ...]
    """Axes of height and width, or the one axis of the tokens."""
    grid: tuple[int | None, int | None]
    """Height and width in pixels or tokens, None where not fixed."""
    prefix: int = 0
    """Tokens before those of the grid, such as a class token."""

    @classmethod
    def of_maps(cls, value: ir.Value) -> "Layout":
        """Return the layout (N, C, h, w) of a value of four axes."""
        height, width = dimensions(value)[2:]
        return cls(1, (2, 3), (height, width))

    @property
    def has_tokens(self) -> bool:
        """Whether height and width are one axis."""
        return len(self.space) == 1

    def to_maps(self, builder: GraphBuilder, value: ir.Value, channels: int | None) -> ir.Value:
        """Append the value as maps (N, C, h, w); nothing where it has that shape already.

        Args:
            value: Value of this layout.
            channels: C, None where not fixed.
        """
        if self.prefix:
            bounds = ([self.prefix], [self.prefix + math.prod(fixed_grid(self))], list(self.space))
            value = builder.op("Slice", [value, *(builder.integers(numbers) for numbers in bounds)])
        perm = [0, self.channel, *self.space]
        if perm != sorted(perm):
            value = builder.op("Transpose", [value], {"perm": perm})
        if self.has_tokens:
            value = builder.reshape(value, [0, 0, *fixed_grid(self)])
        value.shape = ir.Shape([value.shape[0] if value.shape else None, channels, *self.grid])
        return value


def fixed_grid(layout: Layout) -> tuple[int, int]:
    """Return height and width of a layout whose grid is fixed, as that of tokens is."""
    height, width = layout.grid
    assert height is not None, "a grid of tokens is fixed"
    assert width is not None, "a grid of tokens is fixed"
    return height, width
