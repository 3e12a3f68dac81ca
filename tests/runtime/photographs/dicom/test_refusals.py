"""What is no photograph, damaged or too large is refused with the reason."""

import builtins
import io
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")

from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from biounet_edge import Category, ImageError
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.dicom import Frame
from biounet_edge.photographs.dicom.reading import read_frame

from ...dicom_files import (
    LOSSLESS,
    as_jpeg,
    content,
    dataset,
    encoded,
    jpeg,
)


@pytest.mark.parametrize("syntax", [*LOSSLESS, "JPEG"], ids=lambda syntax: getattr(syntax, "keyword", syntax))
def test_truncated_file_is_refused_wherever_it_ends(syntax, photograph):
    small = np.ascontiguousarray(photograph[:64, :64])
    made = as_jpeg(dataset(small), [jpeg(small)]) if syntax == "JPEG" else encoded(dataset(small), syntax)
    whole = content(made)
    decode(whole)
    ends = [*range(132, 1800, 37), *range(1800, len(whole), 997), *range(len(whole) - 20, len(whole))]
    for end in ends:
        with pytest.raises(ImageError, match=r"DICOM|JPEG"):
            decode(whole[:end])


@pytest.mark.parametrize("syntax", [*LOSSLESS, "JPEG"], ids=lambda syntax: getattr(syntax, "keyword", syntax))
@pytest.mark.filterwarnings("ignore")  # what pydicom warns about is damaged here
def test_damaged_file_is_refused_or_read_and_never_crashes(syntax, photograph):
    small = np.ascontiguousarray(photograph[:64, :64])
    made = as_jpeg(dataset(small), [jpeg(small)]) if syntax == "JPEG" else encoded(dataset(small), syntax)
    whole = content(made)
    rng = np.random.default_rng(11)
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(132, len(whole), 4):
            damaged[position] = rng.integers(0, 256)
        with suppress(ImageError):
            assert decode(bytes(damaged)).dtype == np.uint8


def test_frame_that_is_cut_off_inside_its_fragment_is_refused(photograph):
    stream = jpeg(photograph)
    made = as_jpeg(dataset(photograph), [stream[: len(stream) // 2]])
    with pytest.raises(ImageError, match="the JPEG frame is truncated: its end marker is missing"):
        decode(content(made))


def test_gigapixel_header_is_refused_before_decoding(photograph):
    made = dataset(photograph, Rows=65535, Columns=65535)
    with pytest.raises(ImageError, match="too large: 65535 x 65535 pixels are 4,295 megapixels, at most 250"):
        decode(content(made))


def test_codestream_larger_than_its_header_is_refused(photograph):
    stream = bytearray(jpeg(photograph))
    start = stream.index(b"\xff\xc0")
    stream[start + 5 : start + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(
        ImageError, match=r"has 65000 x 65000 pixels of 3 samples .*, but the DICOM header says 120 x 90 "
    ):
        decode(content(as_jpeg(dataset(photograph), [bytes(stream)])))
    made = encoded(dataset(photograph), JPEG2000Lossless)
    made.PixelData = made.PixelData.replace(struct.pack(">II", 120, 90), struct.pack(">II", 60000, 60000), 1)
    with pytest.raises(ImageError, match=r"JPEG 2000 frame has 60000 x 60000 pixels of 3 samples of 8"):
        decode(content(made))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"SOPClassUID": UID("1.2.840.10008.5.1.4.1.1.2")},
            r"no photograph of skin: SOP Class UID \(0008,0016\) is CT Image Storage, expected VL",
        ),
        (
            {"SOPClassUID": UID("1.2.3")},
            r"no photograph of skin: SOP Class UID \(0008,0016\) is 1.2.3, expected",
        ),
        ({"Rows": 0}, "has no image: its header names no rows and columns"),
        ({"NumberOfFrames": 2**31 - 1}, "says 2,147,483,647 frames, at most 10,000 are read"),
        ({"NumberOfFrames": 20}, "holds 20 frames"),
        ({"PhotometricInterpretation": "HSV"}, "3 samples a pixel and the colour model HSV"),
        ({"SamplesPerPixel": 1}, "1 samples a pixel and the colour model RGB"),
        ({"PixelRepresentation": 1}, "8 of 8 signed bits a sample: expected 1, 8 or up to 16 without a sign"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 of 32 bits a sample"),
        (
            {"HighBit": 5},
            "8 bits a sample of which the highest is bit 5, which .*: expected bit 7",
        ),
        ({"ManufacturerModelName": "biounet-edge"}, "is a result that biounet-edge wrote, and no photograph"),
    ],
)
def test_what_is_no_photograph_says_why(change, message, photograph):
    with pytest.raises(ImageError, match=message):
        decode(content(dataset(photograph, **change)))


def test_codestream_with_more_samples_than_its_header_is_refused(photograph):
    made = as_jpeg(dataset(photograph[..., 0], "MONOCHROME2"), [jpeg(photograph)], "MONOCHROME2")
    with pytest.raises(
        ImageError,
        match=r"120 x 90 pixels of 3 samples .* but the DICOM header .* pixels of 1 samples",
    ):
        decode(content(made))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(("stream_bits", "header_bits"), [(12, 16), (16, 12), (12, 8)])
def test_codestream_of_another_precision_than_its_header_is_refused(
    syntax, stream_bits, header_bits, photograph
):
    grey = photograph[..., 0].astype(np.uint16) << (stream_bits - 8)
    made = dataset(grey, "MONOCHROME2", BitsStored=stream_bits, HighBit=stream_bits - 1)
    made = encoded(made, syntax)
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, header_bits, header_bits - 1
    with pytest.raises(
        ImageError, match=f"of 1 samples of {stream_bits} bits, but .* of 1 samples of {header_bits} bits"
    ):
        decode(content(made))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.keyword)
def test_codestream_with_a_zeroed_sector_is_refused(syntax):
    noisy = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    whole = content(encoded(dataset(noisy), syntax))
    middle = len(whole) // 2
    with pytest.raises(ImageError, match=r"JPEG.* frame is damaged: a part of its data reads as zeros"):
        decode(whole[:middle] + bytes(4096) + whole[middle + 4096 :])


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.keyword)
def test_codestream_of_one_colour_is_read(syntax, value):
    flat = np.full((1500, 2000), value, np.uint8)
    read = decode(content(encoded(dataset(flat, "MONOCHROME2"), syntax)))
    np.testing.assert_array_equal(read, np.repeat(flat[..., np.newaxis], 3, axis=2))


def test_unknown_transfer_syntax_is_refused(photograph):
    made = as_jpeg(dataset(photograph), [jpeg(photograph)])
    made.file_meta.TransferSyntaxUID = HTJ2K
    with pytest.raises(ImageError, match=r"transfer syntax 1.2.840.10008.1.2.4.203 cannot be read: expected"):
        decode(content(made))


def test_deflated_file_is_refused(photograph):
    made = dataset(photograph)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(ImageError, match="is deflated as a whole, which is not read: save it otherwise"):
        decode(content(made))


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian + " "])
def test_deflated_file_is_not_inflated_to_find_out(syntax, monkeypatch):
    def inflate(*_):
        raise AssertionError("it was inflated")

    def element(number: int, kind: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", 2, number, kind, len(value)) + value

    monkeypatch.setattr(zlib, "decompress", inflate)
    far = element(3, b"UI", b"1.2.3".ljust(4000, b"\0")) + element(16, b"UI", syntax.encode())
    with pytest.raises(ImageError, match="is deflated as a whole"):
        decode(b"\0" * 128 + b"DICM" + far + zlib.compress(b"pixels"))


def test_file_without_pixels_is_refused(photograph):
    made = dataset(photograph)
    del made.PixelData
    with pytest.raises(ImageError, match="truncated or damaged: it has no pixel data"):
        decode(content(made))


def test_bytes_that_only_begin_as_dicom_are_refused():
    with pytest.raises(ImageError, match="DICOM"):
        decode(b"\0" * 128 + b"DICM" + b"no element follows")


def test_missing_extra_names_the_command(photograph, monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name.split(".")[0] == "pydicom":
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    data = content(dataset(photograph))
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImageError, match=r'not installed: pip install "biounet-edge\[dicom\]"'):
        decode(data)


def test_read_frame_honours_its_own_limit(photograph):
    with pytest.raises(ImageError, match="too large: 120 x 90"):
        read_frame(io.BytesIO(content(dataset(photograph))), None, 100)


def test_missing_file_of_a_frame_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match="the file cannot be read: No such file"):
        decode(Frame(tmp_path / "gone", 1))


@pytest.mark.parametrize("start", ["meta", "attributes", "sequence", "item"])
def test_header_that_reads_as_zeros_is_damaged_however_long_it_is(start, photograph):
    # Read one attribute of no length after the other, 64 MiB would take most of a minute.
    whole = content(dataset(photograph))
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    before = whole[: whole.index(struct.pack("<HH2s", 0x0008, 0x0018, b"UI"))]  # after the SOP class
    head = {"meta": whole[:132], "attributes": before, "sequence": before + sequence}
    data = head.get(start, before + sequence + item) + bytes(64 * 1024**2)
    begin = time.monotonic()
    with pytest.raises(
        ImageError, match="the DICOM header is damaged: a part of it reads as zeros"
    ) as raised:
        decode(data)
    assert raised.value.category is Category.REFUSED  # not left out as another kind of object
    assert time.monotonic() - begin < 5
