"""Where in a lesion a structure lies."""

import math

import cv2
import numpy as np

from train.synthesis.arrays import FloatArray
from train.synthesis.canvas import Canvas
from train.synthesis.noise import fractal_noise, smooth_noise, smoothstep

SHARES = {
    "pigment_network": (0.12, 0.95),
    "negative_network": (0.06, 0.35),
    "streaks": (0.10, 1.00),
    "milia_like_cyst": (0.30, 0.90),
    "globules": (0.06, 0.50),
}
"""Least and largest share of the lesion, about the 10th to 90th percentile of expert masks in ISIC 2018. For
streaks the share of the border; for cysts only where they may lie."""

RIM = {"pigment_network": 0.8, "negative_network": -0.4, "milia_like_cyst": -0.4, "globules": 0.2}
"""Whether a structure prefers the rim (above zero) or the middle of the lesion."""


def choose_region(canvas: Canvas, indicator: str, rng: np.random.Generator) -> FloatArray:
    """Choose the part of the lesion that an indicator takes up.

    Args:
        canvas: Picture with the lesion.
        indicator: Name of the indicator.
        rng: Source of randomness.

    Returns:
        Strength, shape (H, W), float32 in [0, 1], fading at its edges; above zero somewhere in the lesion.
    """
    low, high = SHARES[indicator]
    share = math.exp(rng.uniform(math.log(low), math.log(high)))
    if indicator == "streaks":
        return _border_stretch(canvas, share, rng)
    height, width = canvas.lesion.shape
    radius = canvas.radius_px
    field = fractal_noise(rng, height, width, 0.8 * radius, 3, gain=0.45)
    field -= RIM[indicator] * canvas.depth / np.float32(radius) * 2
    # Off the middle, the more the lesion is irregular.
    angle, offset = rng.uniform(0, 2 * math.pi), rng.uniform(0, 1.2 * canvas.irregularity)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(radius)
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(radius)
    field += offset * (x * math.cos(angle) + y * math.sin(angle))
    # Where there is pigment rather than where the outline has taken in bare skin.
    typical = max(float(np.median(canvas.density[canvas.lesion])), 0.1)
    field += np.clip(canvas.density / np.float32(typical), 0, 1)
    inside = field[canvas.lesion]
    cut = float(np.quantile(inside[:: max(1, len(inside) // 2000)], 1 - share))
    fade = rng.uniform(0.15, 0.45)  # of the field's unit spread: how gradually a structure ends
    fading_edge = smoothstep(0.0, rng.uniform(0.05, 0.18) * radius, canvas.depth)
    region = smoothstep(cut - fade, cut + fade, field) * fading_edge
    if region.max() < 0.6:  # a sliver of a lesion: use what there is of it
        region = np.maximum(region, smoothstep(0.0, max(1.0, float(canvas.depth.max())), canvas.depth))
    return region


def _border_stretch(canvas: Canvas, share: float, rng: np.random.Generator) -> FloatArray:
    """Places (H, W) in {0, 1} that hold a share of the border: streaks sit on an arc, or all around."""
    height, width = canvas.lesion.shape
    bits = canvas.lesion.astype(np.uint8)
    rim = bits > cv2.erode(bits, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    field = smooth_noise(rng, height, width, 1.2 * canvas.radius_px)
    cut = float(np.quantile(field[rim], 1 - share)) if share < 0.9 else -np.inf
    return (field >= cut).astype(np.float32)
