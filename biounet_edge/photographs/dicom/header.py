"""What a DICOM file says about itself before its pixels are read, and whether it is a photograph at all."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from biounet_edge.errors import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FRAMES = 10_000
"""Most frames that a file may hold: each becomes an input, and a few bytes can claim billions."""

PRODUCT = "biounet-edge"
"""ManufacturerModelName of every object that is written here."""

# PS3.6, table A-1: SOP classes of photographs
_PHOTOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.77.1.1": "VL Endoscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.2": "VL Microscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
}
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
_SYNTAXES = _NATIVE | _JPEG | _JPEG_2000 | _RLE


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

    @property
    def is_image(self) -> bool:
        """Whether it describes an image of any kind."""
        return self.height > 0 and self.width > 0

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
        _refuse_deflated(file)
        dataset = dcmread(file, stop_before_pixels=True)
        frames = int(dataset.get("NumberOfFrames") or 1)
        bits_allocated = int(dataset.get("BitsAllocated") or 8)
        bits_stored = int(dataset.get("BitsStored") or bits_allocated)
        high_bit = dataset.get("HighBit")
        return DicomHeader(
            dataset=dataset,
            sop_class=str(dataset.get("SOPClassUID", "")),
            transfer_syntax=str(dataset.file_meta.get("TransferSyntaxUID", "")),
            frames=frames if 1 <= frames <= MAX_FRAMES else 1,
            claimed_frames=frames,
            height=int(dataset.get("Rows") or 0),
            width=int(dataset.get("Columns") or 0),
            samples=int(dataset.get("SamplesPerPixel") or 1),
            colour_model=str(dataset.get("PhotometricInterpretation", "")),
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            high_bit=bits_stored - 1 if high_bit is None else int(high_bit),
            signed=bool(dataset.get("PixelRepresentation", 0)),
            kind=str(getattr(dataset.get("SOPClassUID"), "name", "")) or "of no known kind",
            is_own_result=str(dataset.get("ManufacturerModelName", "")) == PRODUCT,
        )
    except ImageError:
        raise
    except Exception as error:  # damaged bytes raise whatever the library happens to meet
        raise ImageError(f"the DICOM header is damaged or truncated: {reason(error)}") from error


def check_photograph(header: DicomHeader, max_pixels: int) -> None:
    """Reject a DICOM file that is no photograph, or one that cannot be read.

    Args:
        header: From `open_header`.
        max_pixels: Largest frame that is decoded, in pixels.

    Raises:
        ImageError: With the reason.
    """
    if header.is_own_result:
        raise ImageError(f"the DICOM file is a result that {PRODUCT} wrote, and no photograph")
    if header.sop_class not in _PHOTOGRAPHS:
        raise ImageError(
            f"the DICOM file is no photograph but {header.kind}: expected {', '.join(_PHOTOGRAPHS.values())}"
        )
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


def _refuse_deflated(file: BinaryIO) -> None:
    """Look at the first group of a file alone; inflating the rest may need a thousand times its memory."""
    from pydicom.filereader import read_dataset

    file.seek(132)
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


def reason(error: Exception) -> str:
    """Put into one line why a library failed.

    Args:
        error: What it raised.

    Returns:
        Its message, or its type where it has none.
    """
    return " ".join(str(error).split()) or type(error).__name__
