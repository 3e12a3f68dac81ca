"""From a DICOM file to upright 8-bit RGB pixels."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import ImageError
from biounet_edge.photographs.dicom.codestream import Layout, check_codestream, is_ordinary_jpeg
from biounet_edge.photographs.dicom.header import (
    DicomHeader,
    check_photograph,
    check_subject,
    open_header,
    reason,
)
from biounet_edge.photographs.dicom.signature import Frame, is_dicom, is_dicom_file
from biounet_edge.photographs.memory import room_for

_AS_IN_FILES = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "MONOCHROME2")  # as JPEG files have colours
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def read_dicom(
    content: bytes | Frame, max_pixels: int, any_modality: bool = False
) -> NDArray[np.uint8] | bytes | None:
    """Read the only frame of a DICOM file that is in memory, or one frame of a file that is not.

    Args:
        content: Bytes of any file, or the frame.
        max_pixels: Largest frame that is decoded, in pixels.
        any_modality: Whether other images than photographs of skin are read.

    Returns:
        As `read_frame`; None where the bytes are not those of a DICOM file.

    Raises:
        ImageError: As `read_frame`, or if the file cannot be read.
    """
    if isinstance(content, bytes):
        if not is_dicom(content[:132]):
            return None
        return read_frame(io.BytesIO(content), None, max_pixels, any_modality)
    try:
        with content.path.open("rb") as file:
            return read_frame(file, content.number, max_pixels, any_modality)
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error


def read_frame(
    file: BinaryIO, number: int | None, max_pixels: int, any_modality: bool = False
) -> NDArray[np.uint8] | bytes:
    """Read one frame of a DICOM photograph.

    MONOCHROME1 is inverted, YBR becomes RGB, palettes are applied, and more than 8 bits are scaled to 8.
    Windows, ICC profiles and overlay planes are not applied.

    Args:
        file: The DICOM file, seekable, at its start.
        number: Frame number from 1; None for the only frame.
        max_pixels: Largest frame that is decoded, in pixels.
        any_modality: Whether other images than photographs of skin are read.

    Returns:
        RGB pixels, shape (H0, W0, 3), uint8. Of an ordinary JPEG its bytes, so that it is decoded as any
        other and has the same pixels inside DICOM and outside; its EXIF orientation is not to be applied.

    Raises:
        ImageError: If the file is no photograph of skin, damaged, truncated or too large, or has several
            frames and none was named.
    """
    header = open_header(file)
    check_photograph(header, max_pixels, any_modality)
    if number is None and header.frames > 1:
        raise ImageError(
            f"the DICOM file holds {header.frames} frames and each is an input of its own: name one with "
            'Frame(path, number) of biounet_edge.photographs.dicom, or give the file an ending such as ".dcm"'
        )
    if number is not None and not 1 <= number <= header.frames:
        raise ImageError(f"the DICOM file has no frame {number}: it holds {header.frames}")
    samples = header.height * header.width * header.samples * (2 if header.bits_allocated > 8 else 1)
    try:
        with room_for(4 * samples, f"its {header.width:,} x {header.height:,} pixels"):
            return _decode(file, header, (number or 1) - 1)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("the DICOM image does not fit into memory") from error
    except Exception as error:  # damaged bytes raise whatever a decoder happens to meet
        raise ImageError(f"the DICOM image cannot be decoded: {reason(error)}") from error


def check_subject_of(path: Path, any_modality: bool) -> None:
    """Reject a DICOM file that is no photograph of skin, by its header alone.

    Args:
        path: Any file; one that is not DICOM or cannot be opened is for its reader to reject.
        any_modality: Whether other images than photographs of skin are read.

    Raises:
        ImageError: With the reason.
    """
    if is_dicom_file(path):
        try:
            with path.open("rb") as file:
                check_subject(open_header(file), any_modality)
        except OSError as error:
            raise ImageError(f"the file cannot be read: {error.strerror or error}") from error


def _decode(file: BinaryIO, header: DicomHeader, index: int) -> NDArray[np.uint8] | bytes:
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import pixel_array

    _seek_pixels(file, header)
    if header.encoding != "native":
        data = get_frame(
            file, index, number_of_frames=header.frames, extended_offsets=_extended_offsets(header)
        )
        layout = Layout(header.height, header.width, header.samples, header.bits_stored)
        check_codestream(data, header.encoding, layout)
        if header.encoding == "JPEG" and header.colour_model in _AS_IN_FILES and is_ordinary_jpeg(data):
            return data
    file.seek(0)
    plugin = "" if header.encoding == "native" else "pylibjpeg"
    pixels = pixel_array(file, index=index, decoding_plugin=plugin)  # (H0, W0) or (H0, W0, 3)
    return np.ascontiguousarray(_to_rgb(pixels, header))


def _to_rgb(pixels: NDArray[Any], header: DicomHeader) -> NDArray[np.uint8]:
    if header.colour_model == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(pixels, header.dataset)
        bits = int(header.dataset.RedPaletteColorLookupTableDescriptor[2])  # some store 8 bits in 16
        if bits > 8 and colours.max() < 256:
            raise ImageError(f"the palette of the DICOM image says {bits} bits, but its colours have 8")
        return _to_8_bits(colours, bits)
    samples = _to_8_bits(pixels, header.bits_stored)
    if header.samples == 3:
        return samples
    if header.colour_model == "MONOCHROME1":  # the lowest value is white
        samples = 255 - samples
    return np.repeat(samples[..., np.newaxis], 3, axis=2)


def _to_8_bits(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale as OpenCV does: the upper 8 of more bits; fewer are stretched to 0..255."""
    if samples.dtype == np.uint8 and bits == 8:
        return samples
    if bits > 8:
        return np.asarray(np.minimum(samples >> (bits - 8), 255), dtype=np.uint8)
    scaled = samples.astype(np.uint32) * 255 // ((1 << bits) - 1)
    return np.minimum(scaled, 255).astype(np.uint8)


def _extended_offsets(header: DicomHeader) -> tuple[bytes, bytes] | None:
    offsets, lengths = (header.dataset.get(f"ExtendedOffsetTable{end}") for end in ("", "Lengths"))
    return (offsets, lengths) if offsets and lengths else None


def _seek_pixels(file: BinaryIO, header: DicomHeader) -> None:
    """Move to the first byte of the pixels, after checking that the last one is there too."""
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    implicit = header.transfer_syntax == "1.2.840.10008.1.2"
    order = ">" if header.transfer_syntax == "1.2.840.10008.1.2.2" else "<"
    element = file.read(8 if implicit else 12)
    if element[:4] != struct.pack(f"{order}HH", 0x7FE0, 0x0010):
        raise ImageError("the DICOM file is truncated or damaged: it has no pixel data")
    try:
        length: int = struct.unpack_from(f"{order}I", element, 4 if implicit else 8)[0]
    except struct.error as error:
        raise ImageError("the DICOM file is truncated: its pixel data has no length") from error
    if (length == _UNDEFINED) != (header.encoding != "native"):
        raise ImageError("the DICOM file is damaged: its pixel data does not fit its transfer syntax")
    if length == _UNDEFINED:
        _check_items(file, end)
        return
    samples = header.frames * header.height * header.width * header.samples
    if header.colour_model == "YBR_FULL_422":
        samples = samples * 2 // 3  # two pixels share their colour
    needed = (samples * header.bits_allocated + 7) // 8
    available = min(length, end - file.tell())
    if available < needed or length > end - file.tell():
        raise ImageError(
            f"the DICOM file is truncated: its pixels need {max(needed, length):,} bytes "
            f"and it has {available:,}"
        )


def _check_items(file: BinaryIO, end: int) -> None:
    """Walk over the fragments of encapsulated pixels (PS3.5, annex A.4) and come back."""
    start = file.tell()
    while True:
        tag, length = file.read(4), file.read(4)
        if tag == _DELIMITER and len(length) == 4:
            break
        if tag != _ITEM and len(length) == 4:
            raise ImageError("the DICOM file is damaged: its pixel data is no sequence of fragments")
        if len(length) < 4 or file.tell() + struct.unpack("<I", length)[0] > end:
            raise ImageError("the DICOM file is truncated: its pixel data ends within a frame")
        file.seek(struct.unpack("<I", length)[0], 1)
    file.seek(start)
