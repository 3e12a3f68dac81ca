"""Embedded colour profiles: everything the network sees is sRGB.

A phone stores Display P3 and a camera Adobe RGB; shown as sRGB their colours are duller, and probabilities
move. LittleCMS, through Pillow, converts them. A profile is known by what it does to colours and never by its
name: one that leaves them as sRGB has them is not applied, so that such a file keeps its values bit for bit.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from biounet_edge.errors import ImageError

SAME_WITHIN = 3
"""Largest difference, in grey levels, that a profile may make and still be sRGB: the many copies of sRGB
differ by one or two, Display P3 and Adobe RGB by 50 and more."""

_ROWS = 256  # converted at a time, so that no second copy of a large photograph is made


def to_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Convert colours to sRGB.

    Args:
        pixels: RGB pixels, shape (h, w, 3), uint8; may be written over.
        profile: The embedded ICC profile; None where there is none, which means sRGB. One that is not for
            RGB, as of a grey or CMYK file, is not applied.

    Returns:
        RGB pixels of the same shape; the same object where nothing is to be converted.

    Raises:
        ImageError: If the profile is damaged.
    """
    transform = None if profile is None else _transform(profile)
    if transform is None:
        return pixels
    for start in range(0, len(pixels), _ROWS):
        pixels[start : start + _ROWS] = _converted(pixels[start : start + _ROWS], transform)
    return pixels


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return what converts to sRGB; None where that would change nothing worth mentioning."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ImageError(
            "the colour profile of the image is damaged, so that its colours are not known: save it as sRGB"
        ) from error
    levels = np.arange(0, 256, 17, dtype=np.uint8)  # 16 of each colour, black and white included
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(256, 16, 3)
    change = np.abs(_converted(grid, transform).astype(int) - grid).max()
    return transform if change > SAME_WITHIN else None


def _converted(pixels: NDArray[np.uint8], transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    image = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform)
    assert image is not None, "it is not changed in place"
    return np.asarray(image)
