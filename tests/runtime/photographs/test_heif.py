import io
import sys

import numpy as np
import pytest
from PIL import Image, features

from biounet_edge import ImageError
from biounet_edge.photographs.decoding import decode, read_photograph

from .image_files import ORIENTED, exif


def saved(pixels: np.ndarray, form: str, **options: object) -> bytes:
    if form == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif", reason="the heif extra is not installed")
        pillow_heif.register_heif_opener()
    elif not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_decode_reads_what_phones_write(form, photograph):
    difference = np.abs(decode(saved(photograph, form)).astype(int) - photograph)
    assert difference.mean() < 4


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_decode_turns_it_upright_once(form, orientation, photograph):
    stored = decode(saved(photograph, form)).astype(int)
    data = saved(photograph, form, exif=b"Exif\0\0" + exif(orientation))
    expected = ORIENTED[orientation](stored)
    assert np.abs(decode(data).astype(int) - expected).mean() < 1
    assert read_photograph(data, 128, 128).size == expected.shape[:2]


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_decode_refuses_what_is_cut_off_or_reads_as_zeros(form):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    data = saved(noise, form)
    middle = len(data) // 2
    for damaged in (data[:middle], data[:middle] + bytes(4096) + data[middle + 4096 :]):
        with pytest.raises(ImageError, match="image is truncated or damaged"):
            decode(damaged)


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
@pytest.mark.parametrize(("others", "notes"), [(0, ()), (2, "2 further pages of the {} file not read")])
def test_further_pages_are_mentioned(form, others, notes, photograph):
    more = [Image.fromarray(photograph[::-1])] * others
    data = saved(photograph, form, save_all=True, append_images=more)
    expected = (notes.format(form.replace("HEIF", "HEIC")),) if notes else ()
    assert read_photograph(data, 128, 128).notes == expected


def test_decode_says_what_is_missing_for_heic(photograph, monkeypatch):
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ImageError, match=r'an HEIC image, .* not installed: pip install "biounet-edge\[heif\]"'
    ) as raised:
        decode(data)
    assert not raised.value.is_of_content


def test_decode_takes_a_video_for_no_image():
    with pytest.raises(ImageError, match="the file is not an image in a known format"):
        decode(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(100))
