"""Appending nodes to an ONNX graph."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from biounet_edge.errors import ExportError

_BOOLEAN = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"})

_ARITHMETIC = threading.Lock()
"""onnx_ir has one handler of arithmetic for the whole process."""


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

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> ir.Value:
        """Appends a node, whose output has the element type that follows from its inputs.

        Args:
            op_type: Operator of the default domain.
            inputs: Its inputs, None where one is left out.
            attributes: Its attributes.
            options: As for `onnx_ir.tape.Tape.op`.

        Returns:
            The node's first output.
        """
        output = super().op(op_type, inputs, attributes, **options)
        if output.dtype is None and (dtype := _result_type(op_type, inputs, attributes or {})) is not None:
            output.type = ir.TensorType(dtype)
        return output

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """While the block runs, `+ - * /` on values, and on a value and a number, append nodes."""
        with _ARITHMETIC:
            before = ir.set_value_magic_handler(_Arithmetic(self))
            try:
                yield
            finally:
                ir.set_value_magic_handler(before)

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

    def array_like(self, array: NDArray[np.generic], value: ir.Value) -> ir.Value:
        """Makes an array of a value's type.

        Args:
            array: The array, of any type.
            value: Value to calculate with.

        Returns:
            An initializer of the array's shape.
        """
        return self.constant(array.astype(element_type(value).numpy()))

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

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Converts a value's elements; nothing is appended where they are of that type.

        Args:
            value: The value.
            dtype: Element type of the result.

        Returns:
            The converted value.
        """
        return value if value.dtype == dtype else self.op("Cast", [value], {"to": int(dtype)})

    def where_positive(self, value: ir.Value) -> ir.Value:
        """Appends [value > 0].

        Args:
            value: The value.

        Returns:
            1 where it is positive, else 0; of its shape and type.
        """
        positive = self.op("Greater", [value, self.number_like(0, value)])
        return self.cast(positive, element_type(value))

    def where_equal(self, left: ir.Value, right: ir.Value, like: ir.Value) -> ir.Value:
        """Appends [left = right], broadcast.

        Args:
            left: A value.
            right: Another.
            like: Value whose element type the result has.

        Returns:
            1 where they are equal, else 0.
        """
        return self.cast(self.op("Equal", [left, right]), element_type(like))

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


class _Arithmetic:
    """What onnx_ir calls for `+ - * /` on values."""

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder

    def Add(self, left: Any, right: Any) -> ir.Value:  # noqa: N802
        return self._append("Add", left, right)

    def Sub(self, left: Any, right: Any) -> ir.Value:  # noqa: N802
        return self._append("Sub", left, right)

    def Mul(self, left: Any, right: Any) -> ir.Value:  # noqa: N802
        return self._append("Mul", left, right)

    def Div(self, left: Any, right: Any) -> ir.Value:  # noqa: N802
        return self._append("Div", left, right)

    def Neg(self, operand: Any) -> ir.Value:  # noqa: N802
        return self._builder.op("Neg", [operand])

    def _append(self, operator: str, left: Any, right: Any) -> ir.Value:
        value: ir.Value = left if isinstance(left, ir.Value) else right
        operands = [
            side if isinstance(side, ir.Value) else self._builder.number_like(side, value)
            for side in (left, right)
        ]
        return self._builder.op(operator, operands)


def _result_type(
    operator: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> ir.DataType | None:
    if operator in _BOOLEAN:
        return ir.DataType.BOOL
    if operator in ("Shape", "Size", "ArgMax"):
        return ir.DataType.INT64
    if operator == "Cast":
        return ir.DataType(attributes["to"])
    source = inputs[1] if operator == "Where" else inputs[0]
    return None if source is None else source.dtype


def constant_of(value: ir.Value) -> NDArray[Any] | None:
    """Gives the array of a value that does not depend on the graph's inputs.

    Args:
        value: The value.

    Returns:
        Its array; None where it is computed.
    """
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


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
