import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

import pydicom
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
)

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import decode, read_photograph
from biounet_edge.photographs.dicom import Frame, frames_of

from ...dicom_files import (
    DERMOSCOPIC,
    LOSSLESS,
    MULTI_FRAME_COLOUR,
    SECONDARY_CAPTURE,
    SINGLE_BIT,
    as_jpeg,
    content,
    dataset,
    encoded,
    jpeg,
    lossless_jpeg,
    write,
)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_decode_reads_every_lossless_encoding_to_the_pixel(syntax, photograph):
    np.testing.assert_array_equal(decode(content(encoded(dataset(photograph), syntax))), photograph)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_decode_converts_ybr_full_of_every_lossless_encoding(syntax, photograph):
    made = encoded(dataset(in_ybr(photograph), "YBR_FULL"), syntax)
    assert np.abs(decode(content(made)).astype(int) - photograph).max() <= 2


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGBaseline8Bit], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("colour_model", ["RGB", "YBR_FULL"])
def test_decode_reads_lossless_jpeg_under_any_jpeg_transfer_syntax(syntax, colour_model, photograph):
    pixels = photograph if colour_model == "RGB" else in_ybr(photograph)
    made = as_jpeg(dataset(pixels), [lossless_jpeg(pixels)], colour_model)
    made.file_meta.TransferSyntaxUID = syntax
    tolerance = 0 if colour_model == "RGB" else 2  # YBR of 8 bits has no more
    assert np.abs(decode(content(made)).astype(int) - photograph).max() <= tolerance


def test_decode_reads_big_endian_words():
    words = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 1000
    made = dataset(words, "MONOCHROME2")
    made.PixelData = words.astype(">u2").tobytes()
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(decode(buffer.getvalue())[..., 0], words >> 8)


@pytest.mark.parametrize("colour_model", ["YBR_FULL_422", "YBR_FULL"])
def test_decode_reads_a_jpeg_as_outside_dicom(colour_model, photograph):
    stream = jpeg(photograph)
    made = as_jpeg(dataset(photograph), [stream], colour_model)
    np.testing.assert_array_equal(decode(content(made)), decode(stream))


def test_large_jpeg_is_reduced_as_outside_dicom(photograph):
    large = cv2.resize(photograph, (2400, 1800), interpolation=cv2.INTER_CUBIC)
    stream = jpeg(large)
    inside = read_photograph(content(as_jpeg(dataset(large), [stream])), 128, 128)
    outside = read_photograph(stream, 128, 128)
    assert inside.size == outside.size == (1800, 2400)
    assert inside.pixels.shape == (900, 1200, 3)
    np.testing.assert_array_equal(inside.pixels, outside.pixels)


def test_exif_orientation_inside_dicom_is_not_applied(photograph):
    stream = jpeg(photograph)
    orientation = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    turned = stream[:2] + b"\xff\xe1" + struct.pack(">H", len(orientation) + 2) + orientation + stream[2:]
    assert decode(turned).shape == (120, 90, 3)
    made = content(as_jpeg(dataset(photograph), [turned]))
    np.testing.assert_array_equal(decode(made), decode(stream))
    np.testing.assert_array_equal(read_photograph(made, 64, 64).pixels, decode(stream))


def test_decode_reads_a_grey_jpeg_as_outside_dicom(photograph):
    grey = photograph[..., 0]
    stream = jpeg(grey)
    made = as_jpeg(dataset(grey, "MONOCHROME2"), [stream], "MONOCHROME2")
    np.testing.assert_array_equal(decode(content(made)), decode(stream))


def test_decode_inverts_a_jpeg_of_monochrome1(photograph):
    grey = photograph[..., 0]
    stream = jpeg(grey)
    made = as_jpeg(dataset(grey, "MONOCHROME1"), [stream], "MONOCHROME1")
    dark = 255 - decode(stream).astype(int)
    assert np.abs(decode(content(made)) - dark).max() <= 2  # two decoders round differently


def test_decode_inverts_monochrome1(photograph):
    grey = photograph[..., 1]
    bright = decode(content(dataset(grey, "MONOCHROME2")))
    dark = decode(content(dataset(grey, "MONOCHROME1")))
    np.testing.assert_array_equal(bright, np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(dark, 255 - bright)


def test_decode_scales_12_stored_bits_to_8(photograph):
    grey = photograph[..., 0].astype(np.uint16) * 16 + 5
    made = dataset(grey, "MONOCHROME2", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(decode(content(made))[..., 0], photograph[..., 0])
    inverted = dataset(grey, "MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(decode(content(inverted))[..., 0], 255 - photograph[..., 0])


def test_decode_reads_single_bits(photograph):
    bits = photograph[:, :, 0] > 150
    made = dataset(bits.astype(np.uint8), "MONOCHROME2", SOPClassUID=SINGLE_BIT)
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    pixels = decode(content(made), any_modality=True)
    np.testing.assert_array_equal(pixels[..., 1], bits * np.uint8(255))


def test_decode_converts_uncompressed_ybr_full_422():
    rng = np.random.default_rng(3)
    colours = rng.integers(40, 200, (8, 6, 3), dtype=np.uint8).repeat(2, axis=1)  # pairs of one colour
    ybr = in_ybr(colours)  # (8, 12, 3)
    pairs = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    made = dataset(colours, "YBR_FULL_422")
    made.PixelData = np.ascontiguousarray(pairs).tobytes()
    assert np.abs(decode(content(made)).astype(int) - colours).max() <= 2


def test_decode_converts_uncompressed_ybr_full_in_planes(photograph):
    made = dataset(photograph, "YBR_FULL", PlanarConfiguration=1)
    made.PixelData = np.ascontiguousarray(in_ybr(photograph).transpose(2, 0, 1)).tobytes()
    assert np.abs(decode(content(made)).astype(int) - photograph).max() <= 2


def test_decode_applies_a_palette():
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    np.testing.assert_array_equal(decode(content(with_palette(indices, 16, 257))), PALETTE.T[indices])


def test_decode_applies_a_palette_of_8_bits_in_words():
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    np.testing.assert_array_equal(decode(content(with_palette(indices, 8, 1))), PALETTE.T[indices])


def test_palette_whose_words_hold_bytes_is_refused():
    with pytest.raises(
        ImageError, match="the palette of the DICOM image says 16 bits, but its colours have 8"
    ):
        decode(content(with_palette(np.zeros((3, 4), np.uint8), 16, 1)))


PALETTE = np.array([[0, 255, 10, 20], [1, 2, 3, 4], [200, 100, 50, 25]], np.uint16)


def with_palette(indices: np.ndarray, bits: int, factor: int) -> pydicom.Dataset:
    """An image of indices into PALETTE, whose entries are stored in words."""
    made = dataset(indices, "PALETTE COLOR")
    for name, colours in zip(("Red", "Green", "Blue"), PALETTE, strict=True):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [4, 0, bits])
        setattr(made, f"{name}PaletteColorLookupTableData", (colours * factor).astype("<u2").tobytes())
    return made


def in_ybr(pixels: np.ndarray) -> np.ndarray:
    """Converts RGB to YBR_FULL."""
    return np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])


@pytest.mark.parametrize("sop_class", [DERMOSCOPIC, SECONDARY_CAPTURE, MULTI_FRAME_COLOUR])
def test_decode_reads_every_kind_of_photograph(sop_class, photograph):
    np.testing.assert_array_equal(decode(content(dataset(photograph, SOPClassUID=sop_class))), photograph)


@pytest.mark.parametrize("syntax", [*LOSSLESS, "JPEG"], ids=lambda syntax: getattr(syntax, "keyword", syntax))
def test_frames_are_read_one_by_one(syntax, photograph, tmp_path):
    frames = np.stack([np.roll(photograph, 9 * i, axis=1) for i in range(3)])
    made = dataset(frames, frames=3)
    expected = list(frames)
    if syntax == "JPEG":
        streams = [jpeg(frame) for frame in frames]
        made, expected = as_jpeg(made, streams), [decode(stream) for stream in streams]
    else:
        made = encoded(made, syntax)
    path = write(tmp_path / "several", made)
    for number, frame in enumerate(expected, 1):
        read = read_photograph(Frame(path, number), 64, 64)
        np.testing.assert_array_equal(read.pixels, frame)
        assert read.size == photograph.shape[:2]
    with pytest.raises(ImageError, match="holds 3 frames and each is an input of its own: name one with"):
        decode(path)
    with pytest.raises(ImageError, match="has no frame 4: it holds 3"):
        decode(Frame(path, 4))


def test_file_that_speaks_of_deflating_is_read(photograph):
    made = dataset(photograph)
    made.file_meta.PrivateInformationCreatorUID = "1.2.3"
    made.file_meta.PrivateInformation = str(DeflatedExplicitVRLittleEndian).encode()
    np.testing.assert_array_equal(decode(content(made)), photograph)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless, written by GDCM
        "SC_rgb_gdcm_KY.dcm",  # JPEG 2000
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",  # JPEG of RGB, written by DCMTK
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",  # JPEG of YBR, colour at a quarter of the size
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "GDCMJ2K_TextGBR.dcm",  # a JP2 file inside DICOM
    ],
)
@pytest.mark.filterwarnings("ignore")  # what pydicom warns about in other programs' files
def test_files_of_other_programs_are_read_as_pydicom_reads_them(name):
    path = _of_pydicom(name)
    source, *_ = frames_of(path, any_modality=True)  # most are test patterns
    expected = pixel_array(path, index=0, decoding_plugin="" if "odd" in name else "pylibjpeg")
    difference = np.abs(decode(source, any_modality=True).astype(int) - expected)
    assert difference.max() <= 2  # decoders round YBR differently


@pytest.mark.filterwarnings("ignore")
def test_jpeg_of_12_bits_is_read():
    path = _of_pydicom("JPGExtended.dcm")
    np.testing.assert_array_equal(decode(path, any_modality=True)[..., 0], pixel_array(path) >> 4)


def _of_pydicom(name: str) -> Path:
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    if not path.is_file():
        pytest.skip(f"this pydicom comes without {name}")
    return path
