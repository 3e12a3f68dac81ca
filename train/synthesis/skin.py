"""Bare skin under the dermoscope: tone, furrows, blotches, light."""

import math

import numpy as np

from train.synthesis.arrays import FloatArray
from train.synthesis.cells import draw_cells
from train.synthesis.noise import fractal_noise, smooth_noise

TONES = (
    np.array(
        [
            [166, 140, 130],
            [174, 163, 159],
            [196, 186, 181],
            [192, 158, 143],
            [215, 176, 166],
            [229, 201, 194],
            [150, 119, 107],
            [234, 225, 221],
            [226, 152, 140],
            [217, 160, 125],
            [186, 200, 222],
            [140, 104, 84],
        ],
        np.float32,
    )
    / 255
)
"""Skin colours (RGB in [0, 1]) as dermoscopes record them: cluster centres of ISIC images, pale to medium."""

TONE_SHARES = np.array([19, 13, 12, 11, 10, 9, 9, 7, 4, 2, 3, 1]) / 100
"""How often each tone is drawn: the clusters' sizes."""

BLOOD = np.array([0.10, 0.75, 0.60], np.float32)
"""Absorbance of blood: green and blue are lost, red stays."""


def render_skin(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Draw skin without a lesion.

    Args:
        rng: Source of randomness.
        height: Rows.
        width: Columns.

    Returns:
        Skin, shape (height, width, 3), float32 RGB in [0, 1].
    """
    unit = min(height, width)
    pair = rng.choice(len(TONES), 2, p=TONE_SHARES)
    mix = rng.uniform(0, 0.5)
    tone = (1 - mix) * TONES[pair[0]] + mix * TONES[pair[1]]
    tone = np.clip(tone * rng.uniform(0.98, 1.12) * rng.normal(1, 0.03, 3), 0.2, 0.96).astype(np.float32)

    # Density of pigment and of blood, on top of the tone.
    melanin = rng.uniform(0.008, 0.03) * fractal_noise(rng, height, width, 0.10 * unit, 5, gain=0.9)
    blood = rng.uniform(0.01, 0.045) * fractal_noise(rng, height, width, 0.3 * unit, 5, gain=0.8)
    melanin += rng.uniform(0.006, 0.014) * smooth_noise(rng, height, width, max(0.006 * unit, 1.2))
    if rng.random() < 0.6:
        melanin -= rng.uniform(0.01, 0.05) * _furrows(rng, height, width)
    if rng.random() < 0.25:  # freckles, sun damage
        spots = fractal_noise(rng, height, width, 0.07 * unit, 2)
        melanin += rng.uniform(0.1, 0.3) * np.clip(spots - 1.5, 0, 1)
    brown = np.array([0.5, 1.0, 1.4], np.float32)
    skin = tone * np.exp(-melanin[..., None] * brown - blood[..., None] * BLOOD)
    return np.asarray(np.clip(skin * _light(rng, height, width), 0, 1), np.float32)


def _furrows(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Criss-cross skin lines, shape (height, width), 0 to 1."""
    unit = min(height, width)
    cells = draw_cells(
        rng,
        height,
        width,
        rng.uniform(0.04, 0.08) * unit,
        jitter=0.3,
        stretch=rng.uniform(1.2, 2.0),
        warp=0.3,
    )
    lines = cells.shrink(np.exp(-np.square(cells.wall_distance / 0.08)))
    fade = np.clip(0.5 + 0.5 * smooth_noise(rng, height, width, 0.3 * unit), 0, 1)
    return np.asarray(lines * fade, np.float32)


def _light(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Uneven illumination: a slope and a fall-off from the middle, shape (height, width, 1)."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle = rng.uniform(0, 2 * math.pi)
    slope = rng.uniform(0, 0.08) * (x * math.cos(angle) + y * math.sin(angle))
    falloff = rng.uniform(0.0, 0.14) * (x**2 + y**2)
    return np.asarray(1 + slope - falloff, np.float32)[..., None]
