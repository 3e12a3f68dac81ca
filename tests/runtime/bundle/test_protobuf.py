import numpy as np
import pytest

from biounet_edge.benchmark.matmul_graph import encode_matmul
from biounet_edge.bundle.protobuf import read_fields


def read(content: bytes) -> list[tuple[int, int | bytes]]:
    return [
        (number, bytes(value) if isinstance(value, memoryview) else value)
        for number, value in read_fields(memoryview(content))
    ]


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (b"", []),
        (b"\x08\x96\x01", [(1, 150)]),  # the example of the encoding's description
        (b"\x12\x07testing", [(2, b"testing")]),
        (b"\x12\x00\x12\x01a", [(2, b""), (2, b"a")]),
        (b"\x0d\x00\x00\x80\x3f\x08\x01", [(1, 1)]),  # behind a float
        (b"\x09" + b"\0" * 8 + b"\x08\x02", [(1, 2)]),  # behind a double
        (b"\xca\x01\x01x", [(25, b"x")]),  # a number of two bytes
        (b"\xba\x80\x80\x80\x00\x01x", [(7, b"x")]),  # a number of five bytes
        (b"\xfa\xff\xff\xff\x0f\x01x", [(2**29 - 1, b"x")]),  # the largest number
        (b"\x0a\x80\x01" + b"y" * 128, [(1, b"y" * 128)]),  # a length of two bytes
        (b"\x08" + b"\xff" * 9 + b"\x01", [(1, 2**64 - 1)]),
    ],
)
def test_read_fields_reads_messages(content, fields):
    assert read(content) == fields


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x12", "a field ends before its length"),
        (b"\x12\x05abc", "a field of 5 bytes is longer than its message"),
        (b"\x08", "a number does not end"),
        (b"\x08" + b"\xff" * 12, "a number does not end"),
        (b"\x0d\x00", "a number is longer than its message"),
        (b"\x0b", "there is no wire type 3"),
        (b"\x00\x00", "a field has a number that no message has"),
        (b"\x02\x00", "a field has a number that no message has"),
        (b"\xba\x80\x80\x80\x10\x00", "a field has a number"),  # 7 where 32 bits of it are read
        (b"\xba\x80\x80\x80\x80\x00\x00", "a field has a number"),  # 7 in six bytes
        (b"\x12" + b"\xff" * 9 + b"\x01", "a field of 18446744073709551615 bytes"),
    ],
)
def test_read_fields_refuses_what_is_no_message(content, problem):
    with pytest.raises(ValueError, match=problem):
        read(content)


def test_read_fields_reads_what_the_benchmark_writes():
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    (graph,) = (value for number, value in read(encode_matmul(weight, 4)) if number == 7)
    (tensor,) = (value for number, value in read(graph) if number == 5)
    assert dict(read(tensor))[9] == weight.tobytes()
