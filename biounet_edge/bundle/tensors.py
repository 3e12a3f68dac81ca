"""Shapes of tensors and small constants, read from ONNX files without the onnx package.

What a file declares is not what it holds: a weight of a terabyte takes twenty bytes to declare. A constant is
believed where its bytes are there.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.protobuf import read_fields

MAX_VALUES = 64
"""Most numbers of a tensor whose values are kept: the sizes of a tensor, and what such sizes are made of."""

ITEM_BYTES = {
    1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 17: 1, 18: 1, 19: 1,
    20: 1,
}  # fmt: skip
"""Size of a number by TensorProto.DataType; texts, complex numbers and packed ones are not among them."""

# Field numbers of TensorProto in onnx.proto3.
_DIMS, _DATA_TYPE, _INT32_DATA, _INT64_DATA, _NAME, _RAW_DATA, _EXTERNAL_DATA = 1, 2, 5, 7, 8, 9, 13
_VALUES = {1: "<f4", 6: "<i4", 7: "<i8", 11: "<f8"}  # data type -> how raw data is read

Values = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a tensor before anything is computed."""

    shape: tuple[int, ...]
    """Its sizes."""
    item_bytes: int = 4
    """Size of a number, in bytes."""
    values: Values | None = field(default=None, repr=False)
    """Its numbers, where they follow from shapes and constants alone and are few."""
    is_constant: bool = False
    """Whether it depends on no input."""

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return math.prod(self.shape) * self.item_bytes


def read_tensor(message: memoryview, external_bytes: int | None) -> tuple[str, Tensor]:
    """Read a constant.

    Args:
        message: A TensorProto.
        external_bytes: How much there is of it in another file; None where that is not where it is.

    Returns:
        Its name and what is known of it.

    Raises:
        ValueError: If it declares more than the file holds, or is of a kind that is not read.
    """
    name, kind, raw, held, dims = "", 0, None, len(message), []
    small: list[int] = []
    for number, value in read_fields(message):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else list(varints(value))
        elif number == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == _NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8", "backslashreplace")
        elif number == _RAW_DATA and isinstance(value, memoryview):
            raw = value
        elif number in (_INT32_DATA, _INT64_DATA) and len(small) <= MAX_VALUES:
            small += [value] if isinstance(value, int) else varints(value)
    if kind not in ITEM_BYTES:
        raise ValueError(f"the constant {name!r} is of type {kind}")
    tensor = Tensor(tuple(map(signed, dims)), ITEM_BYTES[kind], is_constant=True)
    if min(tensor.shape, default=0) < 0:
        raise ValueError(f"the constant {name!r} has a size below zero")
    if external_bytes is not None:
        needed, held = tensor.bytes, external_bytes
    elif raw is not None:
        needed, held = tensor.bytes, len(raw)
    else:  # a number takes a byte or more
        needed = math.prod(tensor.shape)
    if needed > held:
        raise ValueError(f"the constant {name!r} declares {needed:,} bytes and has {held:,}")
    return name, Tensor(tensor.shape, tensor.item_bytes, _values(tensor, kind, raw, small), is_constant=True)


def _values(tensor: Tensor, kind: int, raw: memoryview | None, small: list[int]) -> Values | None:
    count = math.prod(tensor.shape)
    if count > MAX_VALUES or kind not in _VALUES:
        return None
    numbers = (
        np.frombuffer(raw, _VALUES[kind]) if raw is not None else np.array([*map(signed, small)], np.int64)
    )
    if len(numbers) != count:  # of another file, or as floats
        return None
    numbers = numbers.reshape(tensor.shape)
    return numbers.astype(np.float64) if kind in (1, 11) else numbers.astype(np.int64)


def varints(packed: memoryview) -> Iterator[int]:
    """Yield packed integers.

    Args:
        packed: Bytes of seven bits each, the lowest first.

    Yields:
        The integers, 64 bits without a sign.

    Raises:
        ValueError: If the last one is cut off.
    """
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
    if shift:
        raise ValueError("a number does not end")


def signed(value: int) -> int:
    """Return what 64 bits stand for.

    Args:
        value: Without a sign.

    Returns:
        With a sign, in two's complement.
    """
    number: int = struct.unpack("<q", struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF))[0]
    return number
