import struct

import numpy as np
import pytest

from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.exif import orientation_of

from .image_files import ORIENTED, encode

CODES = {1: "Bxxx", 3: "Hxx", 4: "I"}


def block(order: str, kind: int, value: int) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 274, kind, 1) + struct.pack(order + CODES[kind], value)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + b"\0" * 4


def with_segments(data: bytes, *contents: bytes) -> bytes:
    segments = (b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content for content in contents)
    return data[:2] + b"".join(segments) + data[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("orientation", ORIENTED)
def test_decode_turns_by_an_orientation_of_any_type(order, kind, orientation, photograph):
    data = encode(".jpg", photograph)
    turned = decode(with_segments(data, b"Exif\0\0" + block(order, kind, orientation)))
    np.testing.assert_array_equal(turned, ORIENTED[orientation](decode(data)))


def test_decode_turns_by_the_first_of_two_exif_blocks_and_never_by_xmp(photograph):
    data = encode(".jpg", photograph)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="3"/>'
    exif = [b"Exif\0\0" + block("<", 3, orientation) for orientation in (6, 3)]
    np.testing.assert_array_equal(decode(with_segments(data, xmp, *exif)), ORIENTED[6](decode(data)))
    np.testing.assert_array_equal(decode(with_segments(data, xmp)), decode(data))


@pytest.mark.parametrize(
    "exif",
    [
        None,
        b"",
        b"II*\0",
        block("<", 3, 0),
        block("<", 3, 9),
        block("<", 3, 6)[:15],
        b"MM\0*\xff\xff\xff\xff",
    ],
)
def test_orientation_that_is_not_defined_is_as_stored(exif):
    assert orientation_of(exif) == 1
