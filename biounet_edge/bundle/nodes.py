"""The nodes of an ONNX graph, read without the onnx package."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from biounet_edge.bundle.protobuf import read_fields
from biounet_edge.bundle.tensors import signed, varints

# Field numbers of NodeProto and AttributeProto in onnx.proto3.
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _INTEGER, _TEXT, _TENSOR, _INTEGERS, _TYPE = 1, 3, 4, 5, 8, 20
_TYPE_INTEGER, _TYPE_INTEGERS = 2, 7

Attribute = int | list[int] | memoryview


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a graph."""

    operator: str
    """Such as "Conv"."""
    inputs: list[str]
    """Names of tensors; empty where an input is left out."""
    outputs: list[str]
    """Names of tensors; empty where an output is left out."""
    attributes: dict[str, Attribute] = field(default_factory=dict)
    """Integers, lists of them, texts and tensors; numbers with a point are left out."""

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is one integer, or the default."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ValueError(f"the attribute {name} of {self.operator} is no integer")
        return value

    def integers(self, name: str, default: Iterable[int] | None = None) -> list[int]:
        """Return an attribute that is a list of integers, or the default."""
        value = self.attributes.get(name)
        if value is None and default is not None:
            return list(default)
        if not isinstance(value, list):
            raise ValueError(f"the attribute {name} of {self.operator} is no list of integers")
        return value

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a text, or the default."""
        value = self.attributes.get(name)
        return bytes(value).decode("ascii", "backslashreplace") if isinstance(value, memoryview) else default


def read_node(message: memoryview) -> Node:
    """Read a node.

    Args:
        message: A NodeProto.

    Returns:
        The node.

    Raises:
        ValueError: If the bytes are none.
    """
    node = Node("", [], [])
    operator = ""
    for number, value in read_fields(message):
        if not isinstance(value, memoryview):
            continue
        if number in (_INPUT, _OUTPUT):
            (node.inputs if number == _INPUT else node.outputs).append(_text(value))
        elif number == _OPERATOR:
            operator = _text(value)
        elif number == _ATTRIBUTE:
            _read_attribute(value, node.attributes)
    return Node(operator, node.inputs, node.outputs, node.attributes)


def _read_attribute(message: memoryview, attributes: dict[str, Attribute]) -> None:
    name, kind, integers = "", 0, list[int]()
    found: Attribute | None = None
    for number, value in read_fields(message):
        if number == _NAME and isinstance(value, memoryview):
            name = _text(value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _INTEGER and isinstance(value, int):
            found = signed(value)
        elif number in (_TEXT, _TENSOR) and isinstance(value, memoryview):
            found = value
        elif number == _INTEGERS:
            integers += [value] if isinstance(value, int) else varints(value)
    if name in attributes:
        raise ValueError(f"a node has the attribute {name} twice")
    if integers or kind == _TYPE_INTEGERS:
        attributes[name] = [*map(signed, integers)]
    elif found is not None or kind == _TYPE_INTEGER:  # some writers leave zeros out
        attributes[name] = found if found is not None else 0


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")
