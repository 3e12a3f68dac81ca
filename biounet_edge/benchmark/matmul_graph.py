"""One matrix product as an ONNX file, written byte by byte: the runtime does not have the onnx package.

An ONNX file is a Protocol Buffers message, and one node with one weight takes a few dozen bytes besides the
weight itself.

Source: onnx.proto3 (field numbers) and https://protobuf.dev/programming-guides/encoding/
"""

import numpy as np
from numpy.typing import NDArray

OPSET = 13
"""Has both operators; every ONNX Runtime that this package accepts reads it."""

_IR_VERSION = 7  # the one that came with opset 13
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6  # TensorProto.DataType


def encode_matmul(weight: NDArray[np.float32] | NDArray[np.int8], rows: int) -> bytes:
    """Write the model y = x times weight.

    Args:
        weight: Constant right side, shape (K, N): float32 gives MatMul, int8 gives MatMulInteger.
        rows: Rows M of x.

    Returns:
        The model: x (M, K) float32 or uint8 to y (M, N) float32 or int32.

    Raises:
        TypeError: If the weight is of another type.
    """
    types = {"float32": ("MatMul", _FLOAT, _FLOAT, _FLOAT), "int8": ("MatMulInteger", _INT8, _UINT8, _INT32)}
    if weight.dtype.name not in types:
        raise TypeError(f"expected a weight of type float32 or int8, got {weight.dtype}")
    operator, weight_type, input_type, output_type = types[weight.dtype.name]
    inner, columns = weight.shape
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(4, operator)
    dims = b"".join(_number(1, size) for size in weight.shape)
    raw = weight.astype(weight.dtype.newbyteorder("<")).tobytes()
    tensor = dims + _number(2, weight_type) + _text(8, "w") + _message(9, raw)
    graph = _message(1, node) + _text(2, "matmul") + _message(5, tensor)
    graph += _message(11, _value("x", input_type, (rows, inner)))
    graph += _message(12, _value("y", output_type, (rows, columns)))
    return _number(1, _IR_VERSION) + _message(7, graph) + _message(8, _text(1, "") + _number(2, OPSET))


def _value(name: str, element_type: int, shape: tuple[int, int]) -> bytes:
    """Encode a ValueInfoProto: name, and type with element type and shape."""
    sizes = b"".join(_message(1, _number(1, size)) for size in shape)
    tensor_type = _number(1, element_type) + _message(2, sizes)
    return _text(1, name) + _message(2, _message(1, tensor_type))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)  # wire type 0


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content  # wire type 2: length, then bytes


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit of a byte says that another follows."""
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)
