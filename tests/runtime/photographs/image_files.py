"""Image files made here, in any format and orientation."""

import struct
import zlib

import cv2
import numpy as np

LOSSLESS = [".png", ".bmp", ".tiff", ".webp"]
ORIENTED = {  # EXIF orientation -> stored pixels to upright pixels
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def encode(suffix: str, image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]  # OpenCV writes BGR
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []  # 101: lossless
    return cv2.imencode(suffix, np.ascontiguousarray(image), options)[1].tobytes()


def exif(orientation: int) -> bytes:
    """A TIFF header and a directory with one tag, 274."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + b"\0" * 4


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), *chunks, png_chunk(b"IEND", b"")])


def tiff(image: np.ndarray, orientation: int) -> bytes:
    """An uncompressed big-endian TIFF in one strip."""
    height, width = image.shape[:2]
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8 << 16), (259, 3, 1 << 16), (262, 3, 2 << 16),
        (273, 4, 8 + 2 + 11 * 12 + 4), (274, 3, orientation << 16), (277, 3, 3 << 16), (278, 4, height),
        (279, 4, image.size), (284, 3, 1 << 16),
    ]  # fmt: skip
    directory = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + directory + b"\0" * 4 + image.tobytes()


def with_orientation(form: str, image: np.ndarray, orientation: int) -> bytes:
    if form == "TIFF":
        return tiff(image, orientation)
    tag = exif(orientation)
    if form == "JPEG":
        data, segment = encode(".jpg", image), b"Exif\0\0" + tag
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    if form == "PNG":
        data = encode(".png", image)
        return data[:33] + png_chunk(b"eXIf", tag) + data[33:]
    height, width = image.shape[:2]
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + sizes + encode(".webp", image)[12:]
    body += b"EXIF" + struct.pack("<I", len(tag)) + tag
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge(form: str) -> bytes:
    if form == "JPEG":
        scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
        return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65000, 65000, 1) + b"\x01\x11\0" + scan
    if form == "PNG":
        return png(100_000, 100_000, 8, 2)
    if form == "BMP":
        return b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 60000, -60000, 1, 24, *[0] * 6)
    if form == "WebP":
        body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\x3f" * 2
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(tiff(np.zeros((1, 1, 3), np.uint8), 1))
    struct.pack_into(">I", data, 18, 100_000)
    struct.pack_into(">I", data, 30, 100_000)
    return bytes(data)
