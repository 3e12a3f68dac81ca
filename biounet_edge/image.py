"""From an image file to the pixels that the network sees: the only place where this is written.

Training (validation and test), export and prediction all call these two functions, so that a model never
meets pixels that were prepared differently from those it was measured on.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import ImageError
from biounet_edge.image_header import check_complete, read_header

MAX_PIXELS = 250_000_000
"""Largest image that is decoded, in pixels: 750 MB as RGB. Anything larger is a mistake or an attack."""

MAX_FILE_BYTES = 2 * 1024**3
"""Largest file that is read, in bytes."""


def decode(source: str | Path | bytes) -> NDArray[np.uint8]:
    """Reads a JPEG, PNG, BMP, TIFF or WebP image as upright 8-bit RGB.

    The EXIF orientation is applied; grey and palette images become RGB, an alpha channel is dropped, 16-bit
    values are scaled to 8 bits. A truncated file is refused: decoders return it with a grey lower half.

    Args:
        source: Path of the file, or its bytes.

    Returns:
        RGB pixels, shape (H0, W0, 3), uint8.

    Raises:
        ImageError: If the image cannot be read whole or is too large; the message is the reason.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    header = read_header(data)
    if header.height * header.width > MAX_PIXELS:
        raise ImageError(
            f"the image is too large: {header.width} x {header.height} pixels are "
            f"{header.height * header.width / 1e6:,.0f} megapixels, at most {MAX_PIXELS / 1e6:,.0f} are read"
        )
    check_complete(data, header)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"the {header.format} image cannot be decoded: {error.err or error}") from error
    if image is None:
        raise ImageError(f"the {header.format} image is damaged, or of a kind that cannot be decoded")
    return np.ascontiguousarray(image, dtype=np.uint8)  # (H0, W0, 3)


def resize_to_input(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretches the whole photograph to the network's input size (the resize rule "stretch-area").

    No crop and no padding: every pixel of the photograph counts, and a mask maps back by stretching alone.

    Args:
        image: RGB pixels, shape (H0, W0, 3), uint8.
        height: Input height in pixels.
        width: Input width in pixels.

    Returns:
        RGB pixels, shape (height, width, 3), uint8.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def reduce_to(image: NDArray[np.uint8], longer_side_px: int) -> NDArray[np.uint8]:
    """Makes a photograph smaller for looking at; one that is small enough already is returned as it is.

    Args:
        image: RGB pixels, shape (H0, W0, 3), uint8.
        longer_side_px: Largest height and width of the result in pixels.

    Returns:
        RGB pixels of the same aspect, uint8.
    """
    height, width = image.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _read(path: Path) -> bytes:
    """Reads a file whole; the bytes go to OpenCV, whose own file access fails on some alphabets."""
    try:
        if not path.is_file():
            raise ImageError("there is no such file" if not path.exists() else "this is not a regular file")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise ImageError(f"the file has {size_bytes:,} bytes, at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
