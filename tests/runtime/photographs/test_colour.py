import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from biounet_edge import ImageError
from biounet_edge.photographs.colour import SAME_WITHIN, to_srgb
from biounet_edge.photographs.decoding import decode

D65 = (0.3127, 0.329)
PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)),
    "Display P3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def matrix(name: str) -> np.ndarray:
    """Linear RGB to XYZ under D65."""
    columns = np.stack([xyz(*primary) for primary in PRIMARIES[name]], axis=1)
    return columns * np.linalg.solve(columns, xyz(*D65))


def curve(name: str) -> np.ndarray:
    """1024 points from encoded to linear."""
    encoded = np.linspace(0, 1, 1024)
    if name == "Adobe RGB":
        return encoded**2.19921875
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def profile(name: str, called: str = "") -> bytes:
    """An ICC profile of version 2 made of a matrix and a curve: ICC.1:2001-04."""
    white = BRADFORD @ xyz(*D65)
    target = BRADFORD @ np.array([0.9642, 1, 0.8249])
    adapted = np.linalg.inv(BRADFORD) @ np.diag(target / white) @ BRADFORD @ matrix(name)

    def fixed(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + np.round(values * 65536).astype(">i4").tobytes()

    points = np.round(curve(name) * 65535).astype(">u2").tobytes()
    text = (called or name).encode() + b"\0"
    described = b"desc\0\0\0\0" + len(text).to_bytes(4, "big") + text + bytes(78)
    tags = {b"desc": described, b"wtpt": fixed(np.array([0.9642, 1, 0.8249])), b"cprt": b"text\0\0\0\0none\0"}
    for i, letter in enumerate("rgb"):
        tags[f"{letter}XYZ".encode()] = fixed(adapted[:, i])
        tags[f"{letter}TRC".encode()] = b"curv\0\0\0\0" + (1024).to_bytes(4, "big") + points
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + (start + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    head = bytearray(128)
    head[:4] = (start + len(body)).to_bytes(4, "big")
    head[8:24] = b"\x02\x40\0\0mntrRGB XYZ "
    head[36:40] = b"acsp"
    head[68:80] = np.round(np.array([0.9642, 1, 0.8249]) * 65536).astype(">i4").tobytes()
    return bytes(head) + len(tags).to_bytes(4, "big") + table + body


def stored_in(name: str, srgb: np.ndarray) -> np.ndarray:
    """The same colours as a file of that colour space stores them."""
    points = curve("sRGB")
    linear = np.interp(srgb / 255, np.linspace(0, 1, 1024), points)
    other = np.clip(linear @ (np.linalg.inv(matrix(name)) @ matrix("sRGB")).T, 0, 1)
    return np.round(np.interp(other, curve(name), np.linspace(0, 1, 1024)) * 255).astype(np.uint8)


def saved(pixels: np.ndarray, form: str, icc: bytes) -> bytes:
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, icc_profile=icc, **options.get(form, {}))
    return file.getvalue()


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_decode_converts_an_embedded_profile(name, form, photograph):
    stored = stored_in(name, photograph)
    assert np.abs(stored.astype(int) - photograph).max() > 2 * SAME_WITHIN
    decoded = decode(saved(stored, form, profile(name, called="sRGB IEC61966-2.1")))
    difference = np.abs(decoded.astype(int) - photograph)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= (6 if form in ("JPEG", "AVIF") else 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_decode_leaves_srgb_as_it_is_whatever_its_profile_is_called(form, photograph):
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = decode(saved(photograph, form, b""))
    for icc in (built_in, profile("sRGB", called="Monitor of Dr. A")):
        np.testing.assert_array_equal(decode(saved(photograph, form, icc)), plain)


def test_conversion_of_a_photograph_larger_than_a_band_is_that_of_its_parts(photograph):
    icc, tall = profile("Display P3"), np.concatenate([photograph] * 8)  # 720 rows
    expected = np.concatenate([to_srgb(photograph.copy(), icc)] * 8)
    np.testing.assert_array_equal(to_srgb(tall, icc), expected)


def test_profile_of_grey_is_not_applied(photograph):
    icc = bytearray(profile("Adobe RGB"))
    icc[16:20] = b"GRAY"
    assert to_srgb(photograph, bytes(icc)) is photograph


def test_decode_refuses_a_damaged_profile(photograph):
    with pytest.raises(ImageError, match="the colour profile of the image is damaged, so that its colours"):
        decode(saved(photograph, "PNG", profile("Display P3")[:200]))


def test_the_profiles_that_are_converted_change_more_than_copies_of_srgb_differ():
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    for name in ("Display P3", "Adobe RGB"):
        assert np.abs(to_srgb(grid.copy(), profile(name)).astype(int) - grid).max() > 10 * SAME_WITHIN
