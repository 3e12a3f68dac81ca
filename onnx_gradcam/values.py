"""What a graph says about its values."""

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnx_gradcam.errors import ModelError, OptionError


def dimensions(value: ir.Value) -> list[int | None]:
    """Return the size of each axis, None where it is not fixed.

    Raises:
        ModelError: If not even the number of axes is known.
    """
    if value.shape is None:
        raise ModelError(
            f"the shape of {value.name!r} is not known: expected a graph whose shapes can be inferred"
        )
    return [size if isinstance(size, int) else None for size in value.shape]


def element_type(value: ir.Value) -> ir.DataType:
    """Return the type of a value's elements.

    Raises:
        ModelError: If it is not known.
    """
    if value.dtype is None:
        raise ModelError(
            f"the element type of {value.name!r} is not known: expected a graph whose types can be inferred"
        )
    return value.dtype


def is_floating(value: ir.Value) -> bool:
    """Tell whether a value is known to hold floating-point numbers."""
    return value.dtype is not None and value.dtype.is_floating_point()


def constant_of(value: ir.Value) -> NDArray[Any] | None:
    """Return the array of a value that does not depend on the graph's inputs; None where it is computed."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def value_named(graph: ir.Graph, name: str) -> ir.Value:
    """Find a value by its name.

    Raises:
        OptionError: If the graph has none of that name.
    """
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    if name not in values:
        raise OptionError(
            f"the graph has no value {name!r}: `onnx-gradcam layers` shows those that can be explained"
        )
    return values[name]
