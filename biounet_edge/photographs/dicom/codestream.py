"""Whether a compressed frame is all there and as large as its DICOM header says.

Decoders believe the codestream's own size, which may be a thousand times the header's, and fill what is
missing at the end of a truncated one.
"""

import struct
from typing import NamedTuple

from biounet_edge.errors import ImageError

# SOF but DHT, JPG, DAC: ITU-T T.81, table B.1; and the SOF of JPEG-LS: ITU-T T.87
_JPEG_SIZE = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_HUFFMAN_DCT = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_SOC_SIZ = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, annex A
_END = b"\xff\xd9"  # EOI of JPEG, EOC of JPEG 2000
_PADDING = b"\0\xff \t\r\n"  # DICOM pads to an even length with 0; found are fill bytes, spaces, line breaks

_JPEG_LS = 0xF7
_ZEROS = 2048
"""Bytes of zero in a row that neither JPEG 2000 nor JPEG-LS writes: 13 were the most in 24 photographs and
in pictures of one colour. Their decoders read on over a gap and say nothing. Lossless JPEG may have any
number."""


class Layout(NamedTuple):
    """What a frame holds, as its codestream or its DICOM header has it."""

    height: int
    """Rows of pixels."""
    width: int
    """Columns of pixels."""
    samples: int
    """Samples per pixel."""
    bits: int
    """Bits per sample that are used."""

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels of {self.samples} samples of {self.bits} bits"


def check_codestream(data: bytes, encoding: str, expected: Layout) -> None:
    """Reject a frame that is cut off, has a gap, or is of another size or precision than announced.

    Args:
        data: The frame's bytes.
        encoding: "JPEG", "JPEG 2000" or "RLE".
        expected: What the DICOM header says.

    Raises:
        ImageError: If it is truncated, reads as zeros where it cannot, or contradicts the header.
    """
    if encoding == "RLE":  # its decoder counts every byte
        return
    try:
        actual, marker = _jpeg_layout(data) if encoding == "JPEG" else (_jpeg_2000_layout(data), None)
    except (struct.error, IndexError) as error:
        raise ImageError(f"the {encoding} frame is truncated: its header is incomplete") from error
    if actual != expected:
        raise ImageError(f"the {encoding} frame has {actual}, but the DICOM header says {expected}")
    data = data.rstrip(_PADDING)
    if not data.endswith(_END):
        raise ImageError(f"the {encoding} frame is truncated: its end marker is missing")
    if marker in (None, _JPEG_LS) and data.find(bytes(_ZEROS)) >= 0:
        raise ImageError(
            f"the {encoding} frame is damaged: a part of its data reads as zeros, as after a disk error"
        )


def is_ordinary_jpeg(data: bytes) -> bool:
    """Return whether a JPEG codestream is as in JPEG files, which lossless JPEG and JPEG-LS are not.

    The transfer syntax does not tell: DCT and lossless frames are found under each other's.

    Args:
        data: A codestream that passes `check_codestream`.

    Returns:
        True for 8 bits per sample, transformed by the DCT and coded by Huffman's method.
    """
    layout, marker = _jpeg_layout(data)
    return layout.bits == 8 and marker in _HUFFMAN_DCT


def _jpeg_layout(data: bytes) -> tuple[Layout, int]:
    """Read the frame header of a JPEG codestream, and which marker it has."""
    position = 2
    while data[:2] == b"\xff\xd8" and position < len(data):
        start, marker = struct.unpack_from(">BB", data, position)
        if start != 0xFF:
            break
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        if marker in _JPEG_SIZE:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            return Layout(height, width, samples, bits), marker
        position += 2 + length
    raise ImageError("the JPEG frame is damaged: it has no frame header")


def _jpeg_2000_layout(data: bytes) -> Layout:
    if data[4:8] == b"jP  ":  # a JP2 file, which DICOM forbids and some write: ISO/IEC 15444-1, annex I
        data = data[max(0, data.find(_SOC_SIZ)) :]
    if data[:4] != _SOC_SIZ:
        raise ImageError("the JPEG 2000 frame is damaged: it does not begin as a codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    samples, bits = struct.unpack_from(">HB", data, 40)
    return Layout(bottom - top, right - left, samples, (bits & 0x7F) + 1)  # the upper bit is the sign
