"""Which way up a photograph is: the orientation tag of EXIF and TIFF."""

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

_TAG = 274
_TYPES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: the standard has SHORT, and writers take all three


def orientation_of(exif: bytes | None) -> int:
    """Read the orientation tag of an EXIF block.

    Args:
        exif: The block, from its byte-order mark on; None where there is none.

    Returns:
        1 to 8; 1, as stored, where it has no such tag or one that is not defined.
    """
    if exif is None or exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order = "<" if exif[:2] == b"II" else ">"
    try:
        start = struct.unpack_from(f"{order}I", exif, 4)[0]
        for position in range(
            start + 2, start + 2 + 12 * struct.unpack_from(f"{order}H", exif, start)[0], 12
        ):
            tag, kind = struct.unpack_from(f"{order}HH", exif, position)
            if tag == _TAG and kind in _TYPES:
                return defined(struct.unpack_from(order + _TYPES[kind], exif, position + 8)[0])
    except struct.error:
        pass  # a block that is cut off says nothing, as one without the tag
    return 1


def defined(orientation: int) -> int:
    """Return an orientation; 1 for a value that the standard does not define."""
    return orientation if 1 <= orientation <= 8 else 1


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a photograph upright.

    Args:
        pixels: As stored, shape (h, w, 3), uint8.
        orientation: 1 to 8, from `orientation_of`.

    Returns:
        The upright pixels, shape (h, w, 3), or (w, h, 3) for 5 to 8.
    """
    if orientation >= 5:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # as cv2.flip counts: 1 left and right
    return pixels if flip is None else np.asarray(cv2.flip(pixels, flip), dtype=np.uint8)
