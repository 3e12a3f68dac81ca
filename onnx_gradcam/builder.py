"""Appending nodes to an ONNX graph."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnx_gradcam.values import dimensions, element_type

_BOOLEAN = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"})

_ARITHMETIC = threading.Lock()
"""onnx_ir has one handler of arithmetic for the whole process."""


class GraphBuilder(ir.tape.Tape):
    """onnx_ir's tape on a graph, with constants stored once and a way to take back what nothing uses."""

    def __init__(self, graph: ir.Graph) -> None:
        """Start to append to a graph whose nodes are in topological order."""
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
        """Append a node of the default domain and return its first output, its element type inferred.

        Args:
            op_type: Operator.
            inputs: Its inputs, None where one is left out.
            attributes: Its attributes.
            options: As for `onnx_ir.tape.Tape.op`.
        """
        output = super().op(op_type, inputs, attributes, **options)
        if output.dtype is None and (dtype := _result_type(op_type, inputs, attributes or {})) is not None:
            output.type = ir.TensorType(dtype)
        return output

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Let `+ - * /` on values, and on a value and a number, append nodes while the block runs."""
        with _ARITHMETIC:
            before = ir.set_value_magic_handler(_Arithmetic(self))
            try:
                yield
            finally:
                ir.set_value_magic_handler(before)

    def constant(self, array: NDArray[np.generic]) -> ir.Value:
        """Return an initializer of this content; equal constants are one."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            number = len(self._constants)
            while f"constant_{number}" in self.graph.initializers:
                number += 1
            self._constants[key] = self.initializer(ir.tensor(array, name=f"constant_{number}"))
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> ir.Value:
        """Return a list of integers, such as axes or a shape, as an int64 initializer."""
        return self.constant(np.array(values, np.int64))

    def number_like(self, number: float, value: ir.Value) -> ir.Value:
        """Return a scalar initializer of a value's element type."""
        return self.constant(np.array(number, element_type(value).numpy()))

    def array_like(self, array: NDArray[np.generic], value: ir.Value) -> ir.Value:
        """Return an array as an initializer of a value's element type."""
        return self.constant(array.astype(element_type(value).numpy()))

    def shape(self, value: ir.Value, start: int = 0, end: int | None = None) -> ir.Value:
        """Return sizes of some axes as an int64 vector: a constant where all are known, else a Shape node.

        Args:
            value: Value whose sizes are wanted.
            start: First axis.
            end: Axis after the last one; None for all.
        """
        sizes = dimensions(value)[start:end]
        if None not in sizes:
            return self.integers([size for size in sizes if size is not None])
        return self.op("Shape", [value], {"start": start} | ({} if end is None else {"end": end}))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Convert a value's elements; append nothing where they have that type already."""
        return value if value.dtype == dtype else self.op("Cast", [value], {"to": int(dtype)})

    def where_positive(self, value: ir.Value) -> ir.Value:
        """Append [value > 0]: 1 where it is positive, else 0, in the value's own shape and type."""
        positive = self.op("Greater", [value, self.number_like(0, value)])
        return self.cast(positive, element_type(value))

    def where_equal(self, left: ir.Value, right: ir.Value, like: ir.Value) -> ir.Value:
        """Append [left = right], broadcast: 1 where they are equal, else 0, in the element type of `like`."""
        return self.cast(self.op("Equal", [left, right]), element_type(like))

    def reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Append a Reshape; 0 copies a size and -1 takes what is left."""
        return self.op("Reshape", [value, self.integers(shape)])

    def remove_unused(self, keep: Sequence[ir.Value]) -> None:
        """Remove appended nodes that nothing uses, except those that compute the values in `keep`."""
        for node in reversed(self.nodes):
            if node.graph is not None and not any(o in keep or o.uses() for o in node.outputs):
                self.graph.remove(node, safe=True)
        for key, value in list(self._constants.items()):
            if not value.uses():
                del self.graph.initializers[str(value.name)], self._constants[key]


class _Arithmetic:
    """Handler that onnx_ir calls for `+ - * /` on values."""

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
