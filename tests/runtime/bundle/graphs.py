"""Parts of ONNX graphs, written byte by byte: the runtime's tests have no onnx package."""

import struct

# Fields of onnx.proto3: see biounet_edge/bundle/graph_inspection.py.
GRAPH, NODE, INITIALIZER, INPUT, ATTRIBUTE = 7, 1, 5, 11, 5


def varint(value: int) -> bytes:
    content = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def message(field: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(content)) + content


def integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def node(*parts: bytes) -> bytes:
    """A Relu of the image, and other fields."""
    return message(NODE, message(1, b"image"), message(2, b"y"), message(4, b"Relu"), *parts)


def computed(operator: str, inputs: str, output: str, **attributes: int | list[int] | str) -> bytes:
    """A node; the names of its inputs are separated by spaces, and "-" is one that is left out."""
    names = ("" if name == "-" else name for name in inputs.split())
    parts = [message(1, name.encode()) for name in names]
    parts += [message(2, name.encode()) for name in output.split()]
    parts.append(message(4, operator.encode()))
    for name, value in attributes.items():
        if isinstance(value, int):
            content, kind = integer(3, value), 2
        elif isinstance(value, str):
            content, kind = message(4, value.encode()), 3
        else:
            content, kind = b"".join(integer(8, number) for number in value), 7
        parts.append(message(ATTRIBUTE, message(1, name.encode()), content, integer(20, kind)))
    return message(NODE, *parts)


def integers(name: str, *values: int) -> bytes:
    """A constant of 64-bit integers."""
    raw = struct.pack(f"<{len(values)}q", *values)
    return message(INITIALIZER, tensor(name, (len(values),), 7, raw))


def floats(name: str, *values: float) -> bytes:
    """A constant of 32-bit floats."""
    raw = struct.pack(f"<{len(values)}f", *values)
    return message(INITIALIZER, tensor(name, (len(values),), 1, raw))


def tensor(name: str, shape: tuple[int, ...], kind: int, raw: bytes) -> bytes:
    """A TensorProto with raw data."""
    sizes = b"".join(integer(1, size) for size in shape)
    return sizes + integer(2, kind) + message(8, name.encode()) + message(9, raw)
