"""The fields of a Protocol Buffers message, read without knowing its schema.

The runtime has neither the onnx nor the protobuf package, and needs to know a few things about a graph before
a library loads it. A field that occurs more than once is given more than once: readers differ in which one
counts, so whoever checks has to check all.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

Field = tuple[int, int | memoryview]
"""Number and value: an integer, or the bytes of a text, a message or packed numbers."""

_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_KEY_BYTES = 5  # of a field's number and wire type, at most; readers cut what is in them off above 32 bits


def read_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order; numbers of fixed size are left out.

    Args:
        message: The bytes of one message.

    Yields:
        Number and value of each field.

    Raises:
        ValueError: If the bytes are no message.
    """
    position, end = 0, len(message)
    while position < end:
        key = message[position]
        position += 1
        if key > 0x7F:
            start = position - 1
            key, position = _varint(message, start)
            if position - start > _KEY_BYTES:
                key = 0
        if not 8 <= key <= 0xFFFFFFFF:
            raise ValueError("a field has a number that no message has")
        wire = key & 7
        if wire == 2:
            if position >= end:
                raise ValueError("a field ends before its length")
            length = message[position]
            position += 1
            if length > 0x7F:
                length, position = _varint(message, position - 1)
            if position + length > end:
                raise ValueError(f"a field of {length} bytes is longer than its message")
            yield key >> 3, message[position : position + length]
            position += length
        elif wire == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
        elif wire in _FIXED:
            position += _FIXED[wire]
            if position > end:
                raise ValueError("a number is longer than its message")
        else:
            raise ValueError(f"there is no wire type {wire}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read seven bits per byte, the lowest first; return the value and the position after it."""
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("a number does not end")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
