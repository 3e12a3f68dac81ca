"""What a DICOM file says about itself before its pixels are read, and whether they can be."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from biounet_edge.errors import Category, ImageError
from biounet_edge.photographs.dicom.signature import start_of_elements
from biounet_edge.photographs.dicom.subject import PRODUCT, Objection, is_own_result, objection_to

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FRAMES = 10_000
"""Most frames that a file may hold: each becomes an input, and a few bytes can claim billions."""

ANY_MODALITY = "--any-modality, or any_modality=True in Python, reads it all the same"
"""What to do where a header is wrong."""

_COLOUR_MODELS = {  # PhotometricInterpretation -> SamplesPerPixel
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip
_JPEG = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
}
_JPEG_2000 = {
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
_NATIVE = {
    "1.2.840.10008.1.2": "implicit VR little endian",
    "1.2.840.10008.1.2.1": "explicit VR little endian",
    "1.2.840.10008.1.2.2": "explicit VR big endian",
}
_RLE = {"1.2.840.10008.1.2.5": "RLE lossless"}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_ZEROS = 64
"""Reads of up to 8 bytes in a row that give zeros alone: an attribute with a tag of zeros does not exist, and
a gap of gigabytes would be taken for millions, at microseconds each."""

_SYNTAXES = _NATIVE | _JPEG | _JPEG_2000 | _RLE
_UID = re.compile(r"[0-9.]{1,64}")
_QUOTED = re.compile(r"""(?<!\w)b?(['"]).*?\1(?!\w)""")


@dataclass(frozen=True, slots=True, eq=False)
class DicomHeader:
    """The parts of a DICOM header that decide whether and how its pixels are read."""

    dataset: "Dataset" = field(repr=False)
    """Everything before the pixels."""
    sop_class: str
    """UID of the kind of object."""
    transfer_syntax: str
    """UID of the encoding."""
    frames: int
    """Number of frames, at least 1; 1 also where the header claims more than MAX_FRAMES."""
    claimed_frames: int
    """Number of frames as the header has it."""
    height: int
    """Rows; 0 where the file is no image."""
    width: int
    """Columns; 0 where the file is no image."""
    samples: int
    """Samples per pixel."""
    colour_model: str
    """PhotometricInterpretation."""
    bits_allocated: int
    """Bits per sample in the file."""
    bits_stored: int
    """Bits per sample that are used."""
    high_bit: int
    """Number of the highest of them, from 0."""
    signed: bool
    """Whether samples have a sign."""
    kind: str
    """The kind of object in words, or its UID."""
    is_own_result: bool
    """Whether this package wrote it."""
    objection: Objection | None
    """What says that it is no photograph of skin; None where nothing does."""

    @property
    def is_image(self) -> bool:
        """Whether it describes an image of any kind."""
        return self.height > 0 and self.width > 0

    @property
    def left_out_for(self) -> str:
        """What rules it out, in short: "Modality CR"; empty where nothing does."""
        if self.is_own_result:
            return f"results of {PRODUCT}"
        return "" if self.objection is None else self.objection.short

    @property
    def encoding(self) -> str:
        """Kind of encoding: "native", "JPEG", "JPEG 2000" or "RLE"."""
        for kind, syntaxes in (("JPEG", _JPEG), ("JPEG 2000", _JPEG_2000), ("RLE", _RLE)):
            if self.transfer_syntax in syntaxes:
                return kind
        return "native"


def open_header(file: BinaryIO) -> DicomHeader:
    """Read everything before the pixels; the file is left at the pixel data element.

    Args:
        file: A DICOM file, at its start.

    Returns:
        The header, of an image or not.

    Raises:
        ImageError: If the extra is not installed, or the header is damaged or cut off.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ImageError(
            'this is a DICOM file, and what reads it is not installed: pip install "biounet-edge[dicom]"'
        ) from error
    try:
        attributes = cast(BinaryIO, _Attributes(file))
        _refuse_deflated(attributes)
        dataset = dcmread(
            attributes, stop_before_pixels=True, force=True
        )  # some files lack their first 132 bytes
        frames = _number(dataset, "NumberOfFrames", 1)
        bits_allocated = _number(dataset, "BitsAllocated", 8)
        bits_stored = _number(dataset, "BitsStored", bits_allocated)
        high_bit = bits_stored - 1 if dataset.get("HighBit") is None else _number(dataset, "HighBit", 0)
        sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
        kind = _kind(sop_class)
        return DicomHeader(
            dataset=dataset,
            sop_class=str(sop_class or ""),
            transfer_syntax=str(dataset.file_meta.get("TransferSyntaxUID", "")),
            frames=frames if 1 <= frames <= MAX_FRAMES else 1,
            claimed_frames=frames,
            height=_number(dataset, "Rows", 0),
            width=_number(dataset, "Columns", 0),
            samples=_number(dataset, "SamplesPerPixel", 1),
            colour_model=str(dataset.get("PhotometricInterpretation", "")),
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            high_bit=high_bit,
            signed=bool(dataset.get("PixelRepresentation", 0)),
            kind=kind,
            is_own_result=is_own_result(dataset),
            objection=objection_to(dataset, str(sop_class or ""), kind),
        )
    except ImageError:
        raise
    except Exception as error:  # damaged bytes raise whatever the library happens to meet
        raise ImageError(f"the DICOM header is damaged or truncated: {reason(error)}") from error


def check_subject(header: DicomHeader, any_modality: bool) -> None:
    """Reject a DICOM object that is no photograph of skin, by what its header says.

    Args:
        header: From `open_header`.
        any_modality: Whether other images than photographs of skin are read; results of this program are not.

    Raises:
        ImageError: With the reason, of category "skipped".
    """
    if header.is_own_result:
        message = f"the DICOM file is a result that {PRODUCT} wrote, and no photograph"
        raise ImageError(message, Category.SKIPPED)
    if header.objection is not None and not any_modality:
        raise ImageError(f"{header.objection.sentence}; {ANY_MODALITY}", Category.SKIPPED)


def check_photograph(header: DicomHeader, max_pixels: int, any_modality: bool = False) -> None:
    """Reject a DICOM file that is no photograph of skin, or one that cannot be read.

    Args:
        header: From `open_header`.
        max_pixels: Largest frame that is decoded, in pixels.
        any_modality: Whether other images than photographs of skin are read.

    Raises:
        ImageError: With the reason.
    """
    check_subject(header, any_modality)
    if not header.is_image:
        raise ImageError("the DICOM file has no image: its header names no rows and columns")
    if header.height * header.width > max_pixels:
        raise ImageError(
            f"the image is too large: {header.width} x {header.height} pixels are "
            f"{header.height * header.width / 1e6:,.0f} megapixels, at most {max_pixels / 1e6:,.0f} are read"
        )
    if not 1 <= header.claimed_frames <= MAX_FRAMES:
        raise ImageError(
            f"the DICOM header says {header.claimed_frames:,} frames, at most {MAX_FRAMES:,} are read"
        )
    if header.transfer_syntax not in _SYNTAXES:
        raise ImageError(
            f"the DICOM transfer syntax {header.transfer_syntax or 'is missing and'} cannot be read: "
            f"expected {', '.join(_SYNTAXES.values())}"
        )
    if _COLOUR_MODELS.get(header.colour_model) != header.samples:
        raise ImageError(
            f"the DICOM image has {header.samples} samples a pixel and the colour model "
            f"{header.colour_model or 'none'}, which cannot be read: expected {', '.join(_COLOUR_MODELS)}"
        )
    if header.signed or header.bits_allocated not in (1, 8, 16) or not _bits_fit(header):
        raise ImageError(
            f"the DICOM image has {header.bits_stored} of {header.bits_allocated} "
            f"{'signed ' if header.signed else ''}bits a sample: expected 1, 8 or up to 16 without a sign"
        )
    if header.high_bit != header.bits_stored - 1:
        raise ImageError(
            f"the DICOM image has {header.bits_stored} bits a sample of which the highest is bit "
            f"{header.high_bit}, which cannot be read: expected bit {header.bits_stored - 1}"
        )


class _Attributes:
    """A DICOM file while its attributes are read; a part of it that reads as zeros ends that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._zeros = file, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read as the file does; tag and length of an attribute are read together or one after the other."""
        data = self._file.read(size)
        self._zeros = self._zeros + 1 if 0 < len(data) <= 8 and not any(data) else 0
        if self._zeros > _ZEROS:
            raise ImageError(
                "the DICOM header is damaged: a part of it reads as zeros, as after a disk error"
            )
        return data


def _refuse_deflated(file: BinaryIO) -> None:
    """Look at the first group of a file alone; inflating the rest may need a thousand times its memory."""
    from pydicom.filereader import read_dataset

    start = start_of_elements(file.read(132))
    file.seek(start)
    # Reading every element keeps the library from taking the group for one in another encoding later on.
    elements = {
        element.keyword: element.value
        for element in read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    }
    file.seek(0)
    if elements.get("TransferSyntaxUID") == _DEFLATED:
        raise ImageError("the DICOM file is deflated as a whole, which is not read: save it otherwise")


def _bits_fit(header: DicomHeader) -> bool:
    return 1 <= header.bits_stored <= header.bits_allocated


def _number(dataset: "Dataset", keyword: str, default: int) -> int:
    """Read a number that may be missing; a text in its place may be a patient's name and is not repeated."""
    try:
        return int(dataset.get(keyword) or default)
    except (TypeError, ValueError) as error:
        raise ImageError(f"the DICOM header is damaged: {keyword} is no number") from error


def _kind(sop_class: Any) -> str:
    """Name a kind of object; a UID that is none may be any text and is not repeated."""
    uid, name = str(sop_class or ""), str(getattr(sop_class, "name", ""))
    return name if name != uid or _UID.fullmatch(uid) else "of no known kind"


def reason(error: Exception) -> str:
    """Put into one line why a library failed, without the values that it quotes.

    Args:
        error: What it raised.

    Returns:
        Its message, or its type where it has none.
    """
    return " ".join(_QUOTED.sub("...", str(error)).split()) or type(error).__name__
