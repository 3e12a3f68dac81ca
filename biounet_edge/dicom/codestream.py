"""Whether a compressed frame is all there and as large as its DICOM header says.

Decoders believe the codestream's own size, which may be a thousand times the header's, and fill what is
missing at the end of a truncated one.
"""

import struct

from biounet_edge.errors import ImageError

# SOF but DHT, JPG, DAC: ITU-T T.81, table B.1; and the SOF of JPEG-LS: ITU-T T.87
_JPEG_SIZE = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_SOC_SIZ = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, annex A
_END = b"\xff\xd9"  # EOI of JPEG, EOC of JPEG 2000


def check_codestream(data: bytes, encoding: str, size: tuple[int, int, int]) -> None:
    """Refuses a frame that is cut off or of another size than announced.

    Args:
        data: The frame's bytes.
        encoding: "JPEG", "JPEG 2000" or "RLE".
        size: (height, width, samples per pixel) of the DICOM header.

    Raises:
        ImageError: If it is truncated or contradicts the header.
    """
    if encoding == "RLE":  # its decoder counts every byte
        return
    try:
        actual = jpeg_layout(data)[:3] if encoding == "JPEG" else _jpeg_2000_size(data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"the {encoding} frame is truncated: its header is incomplete") from error
    if actual != size:
        raise ImageError(
            f"the {encoding} frame has {actual[1]} x {actual[0]} pixels of {actual[2]} samples, "
            f"but the DICOM header says {size[1]} x {size[0]} of {size[2]}"
        )
    if not data.rstrip(b"\0\xff").endswith(_END):  # DICOM pads to an even length, files with either byte
        raise ImageError(f"the {encoding} frame is truncated: its end marker is missing")


def jpeg_layout(data: bytes) -> tuple[int, int, int, int]:
    """Reads the header of a JPEG codestream.

    Args:
        data: The codestream.

    Returns:
        Height and width in pixels, samples per pixel, and bits per sample.

    Raises:
        ImageError: If there is none.
        struct.error: If it is cut off.
    """
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
            return height, width, samples, bits
        position += 2 + length
    raise ImageError("the JPEG frame is damaged: it has no frame header")


def _jpeg_2000_size(data: bytes) -> tuple[int, int, int]:
    if data[4:8] == b"jP  ":  # a JP2 file, which DICOM forbids and some write: ISO/IEC 15444-1, annex I
        data = data[max(0, data.find(_SOC_SIZ)) :]
    if data[:4] != _SOC_SIZ:
        raise ImageError("the JPEG 2000 frame is damaged: it does not begin as a codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    samples = struct.unpack_from(">H", data, 40)[0]
    return bottom - top, right - left, samples
