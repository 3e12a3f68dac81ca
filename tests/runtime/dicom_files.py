"""DICOM files made here: a photograph in any encoding, with the patient and study of a clinic's archive."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

PHOTOGRAPHIC = UID("1.2.840.10008.5.1.4.1.1.77.1.4")
DERMOSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.7")
SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")
SINGLE_BIT = UID("1.2.840.10008.5.1.4.1.1.7.1")
MULTI_FRAME_COLOUR = UID("1.2.840.10008.5.1.4.1.1.7.4")

LOSSLESS = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]


def jpeg(frame: np.ndarray, quality: int = 95) -> bytes:
    """Encodes RGB or grey pixels as a JPEG codestream."""
    image = frame[..., ::-1] if frame.ndim == 3 else frame
    _, content = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return content.tobytes()


def lossless_jpeg(frame: np.ndarray) -> bytes:
    """Encodes 8-bit pixels of shape (h, w, 3) as a lossless JPEG codestream: ITU-T T.81, annex H.

    Each sample is predicted by the one on its left. Nine Huffman codes of 4 bits stand for 0 to 8 bits of the
    difference, which follow.
    """
    height, width, samples = frame.shape
    table = bytes([0, 0, 0, 0, 9, *[0] * 12, *range(9)])
    components = b"".join(bytes([number, 0x11, 0]) for number in range(1, samples + 1))
    frame_header = struct.pack(">BHHB", 8, height, width, samples) + components
    scan = bytes([samples, *[part for number in range(1, samples + 1) for part in (number, 0)], 1, 0, 0])
    values = frame.astype(int)
    predicted = np.empty_like(values)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 128
    bits = ""
    for difference in (values - predicted).ravel().tolist():
        length = abs(difference).bit_length()
        bits += f"{length:04b}"
        if length:
            bits += f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}"
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    segments = ((0xC4, table), (0xC3, frame_header), (0xDA, scan))
    markers = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments]
    return b"\xff\xd8" + b"".join(markers) + data + b"\xff\xd9"


def dataset(pixels: np.ndarray, colour_model: str = "RGB", *, frames: int = 1, **attributes: Any) -> Dataset:
    """Describes a photograph and holds its pixels uncompressed.

    `pixels` has the shape (h, w) or (h, w, 3), or with a first axis of `frames` where these are several.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = MULTI_FRAME_COLOUR if frames > 1 else PHOTOGRAPHIC
    made.SOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID = "Müller^Eva", "4711"
    made.PatientBirthDate, made.PatientSex = "19700102", "F"
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.StudyDate, made.StudyTime, made.StudyID = "20240203", "101112", "17"
    made.AccessionNumber, made.ReferringPhysicianName = "A1", "Doe^Jane"
    made.Modality, made.SeriesNumber, made.InstanceNumber = "XC", 3, 5
    made.InstitutionName, made.PatientAddress, made.PatientComments = "Clinic", "Street 1", "private"
    shape = pixels.shape[1:] if frames > 1 else pixels.shape
    made.Rows, made.Columns = shape[:2]
    made.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if made.SamplesPerPixel == 3:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = colour_model
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    if frames > 1:
        made.NumberOfFrames = frames
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    made["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def as_jpeg(made: Dataset, frames: list[bytes], colour_model: str = "YBR_FULL_422") -> Dataset:
    """Replaces the pixels by JPEG codestreams."""
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PhotometricInterpretation = colour_model
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    made.LossyImageCompressionRatio = "10"
    return made


def encoded(made: Dataset, syntax: UID) -> Dataset:
    """Encodes the pixels losslessly, or uncompressed with another header."""
    if syntax.is_encapsulated:
        compress(made, syntax, generate_instance_uid=False)
    else:
        made.file_meta.TransferSyntaxUID = syntax
    return made


def content(made: Dataset) -> bytes:
    """Makes the file's bytes."""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(path: Path, made: Dataset) -> Path:
    """Writes the file, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(made))
    return path
