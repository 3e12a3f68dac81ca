"""The picture that structures are painted on, and the optics of pigment in it.

Pigment absorbs: a density d of a pigment with absorbance a (per colour channel) leaves exp(-d a) of the light
(Beer-Lambert). Added density darkens towards the pigment's own brown, which looks right on any skin tone.
On a photograph the absorbance is measured: log(skin / lesion).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from train.synthesis.arrays import BoolArray, ByteArray, FloatArray

MELANIN = np.array([0.40, 1.04, 1.56], np.float32)
"""Absorbance of melanin in red, green, blue, mean 1: typical of log(skin / lesion) in ISIC images."""

Window = tuple[slice, slice]
"""Rows and columns of a rectangle."""


@dataclass(frozen=True)
class Canvas:
    """A picture with one lesion. `image` is painted on in place; the rest stays as it is."""

    image: FloatArray
    """Colour, shape (H, W, 3), float32 RGB in [0, 1]."""
    lesion: BoolArray
    """Where the lesion is, shape (H, W)."""
    depth: FloatArray
    """Distance to the lesion's border in px, shape (H, W), positive inside and negative outside."""
    radius_px: float
    """Radius of the circle of the lesion's area: the unit that structures are sized in."""
    pigment: FloatArray
    """Absorbance of the lesion's pigment, shape (3,), mean 1."""
    skin: FloatArray
    """Colour of the skin around, shape (3,), float32 in [0, 1]."""
    density: FloatArray
    """Pigment already there, log(skin / picture) smoothed, shape (H, W), 0 to 2.5: contrast follows it."""
    irregularity: float
    """How irregular structures are to be, 0 regular to 1."""

    def length(self, share: float, minimum_px: float) -> float:
        """Length in px of a share of the lesion's radius, never below what the picture can show."""
        return max(share * self.radius_px, minimum_px)

    def darken(self, window: Window, density: FloatArray, pigment: FloatArray | None = None) -> None:
        """Add pigment: `density` (h, w) >= 0 of the given absorbance (3,), the lesion's own by default."""
        absorbance = self.pigment if pigment is None else pigment
        self.image[window] *= np.exp(-density[..., None] * absorbance)

    def blend(self, window: Window, weight: FloatArray, colour: FloatArray) -> None:
        """Mix a colour (3,) in, by a weight (h, w) in [0, 1]."""
        part = self.image[window]
        part += weight[..., None] * (colour - part)

    def to_bytes(self) -> ByteArray:
        """The picture as (H, W, 3) uint8."""
        return np.rint(np.clip(self.image, 0, 1) * 255).astype(np.uint8)


def signed_depth(lesion: BoolArray) -> FloatArray:
    """Distance to the border in px, positive inside, negative outside, shape (H, W), float32.

    The edge of the picture counts as the lesion's inside, as a lesion goes on beyond the frame.
    """
    bits = lesion.astype(np.uint8)
    inner: FloatArray = np.asarray(cv2.distanceTransform(bits, cv2.DIST_L2, 5), np.float32)
    outer: FloatArray = np.asarray(cv2.distanceTransform(1 - bits, cv2.DIST_L2, 5), np.float32)
    limit = np.float32(
        math.hypot(*lesion.shape)
    )  # distanceTransform answers 'infinity' where there is no border
    return np.minimum(inner, limit) - np.minimum(outer, limit)


def make_canvas(
    image: FloatArray,
    lesion: BoolArray,
    depth: FloatArray,
    irregularity: float,
    pigment: FloatArray | None = None,
) -> Canvas:
    """Canvas over a float picture; colours of skin and pigment are measured on it.

    Args:
        image: Picture, shape (H, W, 3), float32 RGB in [0, 1]; painted on in place.
        lesion: Lesion mask, shape (H, W), not empty.
        depth: Signed distance to the border in px, shape (H, W).
        irregularity: How irregular structures are to be, in [0, 1].
        pigment: Absorbance (3,) of mean 1 if known, else measured.

    Returns:
        The canvas.
    """
    radius = math.sqrt(float(np.count_nonzero(lesion)) / math.pi)
    step = 1 + max(lesion.shape) // 200  # some 200 x 200 samples are enough for a median
    sample = np.s_[::step, ::step] if lesion[::step, ::step].any() else np.s_[:, :]
    colours = image[sample]
    inside = np.median(colours[lesion[sample]], axis=0).astype(np.float32)
    # Near enough for the same light, off the soft border, not the black of a vignette.
    ring = (depth[sample] < -0.1 * radius) & (depth[sample] > -0.6 * radius) & (colours[..., 1] > 0.2)
    # Where the lesion fills the frame there is no skin to measure: take it that much paler.
    skin = (
        np.median(colours[ring], axis=0).astype(np.float32) if ring.any() else np.minimum(inside * 1.6, 0.9)
    )
    if pigment is None:
        measured = np.log(np.maximum(skin, 0.02) / np.maximum(inside, 0.02)).clip(0, None)
        # A pale or pink lesion has no brown of its own to speak of: melanin keeps a say of one half unit.
        pigment = measured + 0.5 * MELANIN
        pigment = (pigment / pigment.mean()).astype(np.float32)
    size = 2 * int(0.04 * radius) + 1
    smooth = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (size, size))
    density = np.log(np.float32(skin.mean()) / np.maximum(smooth, 0.02)).clip(0, 2.5)
    return Canvas(image, lesion, depth, radius, pigment, skin, density, irregularity)
