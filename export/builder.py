"""Appending nodes to an ONNX graph."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from biounet_edge.errors import ExportError


class GraphBuilder(ir.tape.Tape):
    """onnx_ir's tape on a graph, with constants stored once and a way to take back what nothing uses."""

    def __init__(self, graph: ir.Graph) -> None:
        """Starts to append to a graph.

        Args:
            graph: The graph, its nodes in topological order.
        """
        super().__init__(graph)
        self.graph = graph
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def constant(self, array: NDArray[np.generic]) -> ir.Value:
        """Makes a constant of the graph; equal constants are one.

        Args:
            array: Its value.

        Returns:
            An initializer.
        """
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            number = len(self._constants)
            while f"constant_{number}" in self.graph.initializers:
                number += 1
            self._constants[key] = self.initializer(ir.tensor(array, name=f"constant_{number}"))
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> ir.Value:
        """Makes a list of integers, such as axes or a shape.

        Args:
            values: The integers.

        Returns:
            An int64 initializer, shape (len(values),).
        """
        return self.constant(np.array(values, np.int64))

    def number_like(self, number: float, value: ir.Value) -> ir.Value:
        """Makes a scalar of a value's type.

        Args:
            number: The scalar.
            value: Value to calculate with.

        Returns:
            An initializer without axes.
        """
        return self.constant(np.array(number, element_type(value).numpy()))

    def shape(self, value: ir.Value, start: int = 0, end: int | None = None) -> ir.Value:
        """Gives the sizes of some axes of a value: a constant where all are known, else a Shape node.

        Args:
            value: The value.
            start: First axis.
            end: Axis after the last one; None for all.

        Returns:
            An int64 vector.
        """
        sizes = dimensions(value)[start:end]
        if None not in sizes:
            return self.integers([size for size in sizes if size is not None])
        return self.op("Shape", [value], {"start": start} | ({} if end is None else {"end": end}))

    def reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Reshapes; 0 copies a size and -1 takes what is left.

        Args:
            value: The value.
            shape: Sizes as the Reshape operator takes them.

        Returns:
            The reshaped value.
        """
        return self.op("Reshape", [value, self.integers(shape)])

    def remove_unused(self, keep: Sequence[ir.Value]) -> None:
        """Removes appended nodes that nothing uses.

        Args:
            keep: Values that stay although nothing in the graph uses them yet.
        """
        for node in reversed(self.nodes):
            if node.graph is not None and not any(o in keep or o.uses() for o in node.outputs):
                self.graph.remove(node, safe=True)
        for key, value in list(self._constants.items()):
            if not value.uses():
                del self.graph.initializers[str(value.name)], self._constants[key]


def add_output(graph: ir.Graph, name: str, value: ir.Value, sizes: Sequence[int | None]) -> None:
    """Makes a float32 value an output of the graph.

    Args:
        graph: The graph.
        name: What the output is called.
        value: The value.
        sizes: Its sizes without the batch axis, which is N.
    """
    value.name = name
    value.shape, value.dtype = ir.Shape(["N", *sizes]), ir.DataType.FLOAT
    graph.outputs.append(value)


def dimensions(value: ir.Value) -> list[int | None]:
    """Gives a value's sizes, None where a size is not fixed.

    Args:
        value: The value.

    Returns:
        One entry per axis.

    Raises:
        ExportError: If not even the number of axes is known.
    """
    if value.shape is None:
        raise ExportError(
            f"the shape of {value.name!r} is not known: expected a graph whose shapes can be inferred"
        )
    return [size if isinstance(size, int) else None for size in value.shape]


def element_type(value: ir.Value) -> ir.DataType:
    """Gives a value's element type.

    Args:
        value: The value.

    Returns:
        Its type.

    Raises:
        ExportError: If it is not known.
    """
    if value.dtype is None:
        raise ExportError(
            f"the element type of {value.name!r} is not known: expected a graph whose types can be inferred"
        )
    return value.dtype
