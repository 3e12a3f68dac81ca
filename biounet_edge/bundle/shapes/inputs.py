"""What a rule gets to know of the inputs of a node."""

from collections.abc import Iterable, Sequence
from typing import Any

from biounet_edge.bundle.nodes import Node
from biounet_edge.bundle.tensors import Tensor

Shape = tuple[int, ...]


class Inputs:
    """The inputs of a node, some of which may be left out."""

    def __init__(self, tensors: Iterable[Tensor | None]) -> None:
        """Take what is known.

        Args:
            tensors: In their order; None for one that is left out.
        """
        self._tensors = list(tensors)

    def __len__(self) -> int:
        """Count them, with those that are left out."""
        return len(self._tensors)

    @property
    def given(self) -> list[Tensor]:
        """Those that are not left out."""
        return [tensor for tensor in self._tensors if tensor is not None]

    def tensor(self, place: int) -> Tensor:
        """Return an input that has to be there.

        Args:
            place: Its number from 0.

        Returns:
            What is known of it.

        Raises:
            ValueError: If it is left out.
        """
        tensor = self._tensors[place] if place < len(self) else None
        if tensor is None:
            raise ValueError(f"input {place} of a node is missing")
        return tensor

    def numbers(self, place: int, what: str) -> list[Any] | None:
        """Return the values of an input that decides on a shape.

        Args:
            place: Its number from 0.
            what: What it says, for the message: "sizes".

        Returns:
            The numbers; None where it is left out or empty.

        Raises:
            ValueError: If they are computed from pixels.
        """
        tensor = self._tensors[place] if place < len(self) else None
        if tensor is None or tensor.shape == (0,):
            return None
        if tensor.values is None:
            raise ValueError(f"its {what} are computed while it runs")
        return list(tensor.values.reshape(-1).tolist())

    def axes(self, node: Node) -> list[int] | None:
        """Return the axes, which are an attribute or, in newer versions, the second input.

        Args:
            node: The node.

        Returns:
            The axes; None where there are none.

        Raises:
            ValueError: If they are computed from pixels.
        """
        return node.integers("axes") if "axes" in node.attributes else self.numbers(1, "axes")


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape that shapes have together.

    Args:
        shapes: At least one.

    Returns:
        Sizes of 1 stretched to those of the others.

    Raises:
        ValueError: If they do not fit.
    """
    rank = max(map(len, shapes), default=0)
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        others = set(sizes) - {1}
        if len(others) > 1:
            raise ValueError(f"shapes do not fit together: {list(shapes)}")
        result.append(others.pop() if others else 1)
    return tuple(result)
