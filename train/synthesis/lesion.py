"""A pigmented lesion: its outline, its border and its colours."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from train.synthesis.arrays import BoolArray, FloatArray, largest_piece
from train.synthesis.canvas import MELANIN
from train.synthesis.findings import Findings
from train.synthesis.noise import fractal_noise, smooth_noise, smoothstep
from train.synthesis.skin import BLOOD

DENSE_MELANIN = np.array([0.56, 1.06, 1.38], np.float32)
"""Absorbance of much melanin: less saturated, as measured in the darkest parts of ISIC lesions."""
BLACK = np.array([0.90, 1.05, 1.05], np.float32)
"""Absorbance of melanin in the horny layer."""


@dataclass(frozen=True)
class Shape:
    """Outline of a lesion."""

    height: FloatArray
    """Above zero inside, falling outwards, in lesion radii, shape (H, W)."""
    mask: BoolArray
    """Where it is, shape (H, W): one piece without holes."""
    radius_px: float
    """Nominal radius."""
    along: FloatArray
    """Position along the lesion's axis in radii, shape (H, W); asymmetry is drawn along it."""
    angle: FloatArray
    """Angle around the centre in radians, shape (H, W)."""


def draw_shape(
    rng: np.random.Generator,
    findings: Findings,
    height: int,
    width: int,
    radius_px: float,
    centre: tuple[float, float],
) -> Shape:
    """Draw an outline: an ellipse, joined by smaller lobes and frayed the more the lesion is irregular.

    Args:
        rng: Source of randomness.
        findings: What the lesion shows.
        height: Rows.
        width: Columns.
        radius_px: Nominal radius.
        centre: Row and column of the centre in px.

    Returns:
        The outline.
    """
    y = (np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[0])) / np.float32(radius_px)
    x = (np.arange(width, dtype=np.float32)[None, :] - np.float32(centre[1])) / np.float32(radius_px)
    turn = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(turn) + y * math.sin(turn)
    across = y * math.cos(turn) - x * math.sin(turn)
    ratio = math.exp(rng.uniform(0, 0.28))  # half the axes' ratio
    lobes = [1 - np.sqrt((along / ratio) ** 2 + (across * ratio) ** 2)]
    for _ in range(int(rng.binomial(findings.asymmetric_axes + 1, 0.45))):
        direction, offset, size = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 0.85), rng.uniform(0.4, 0.65)
        du, dv = along - offset * math.cos(direction), across - offset * math.sin(direction)
        lobes.append(size - np.sqrt(du**2 + dv**2))
    sharpness = 9.0  # of the union: higher joins lobes with a deeper notch
    level = np.log(np.sum([np.exp(sharpness * lobe) for lobe in lobes], axis=0)) / sharpness
    ragged = 0.5 + 0.5 * findings.irregularity
    level += ragged * 0.09 * smooth_noise(rng, height, width, 0.6 * radius_px)
    level += ragged * 0.055 * fractal_noise(rng, height, width, 0.25 * radius_px, 4, gain=0.6)
    angle = np.arctan2(across, along)
    return Shape(np.asarray(level, np.float32), largest_piece(level > 0), radius_px, along, angle)


def _coverage(rng: np.random.Generator, shape: Shape, findings: Findings) -> FloatArray:
    """Share of the pigment that is there, (H, W) in [0, 1]; ends abruptly in some eighths of the border."""
    abrupt = np.zeros(8, np.float32)
    abrupt[rng.permutation(8)[: findings.abrupt_eighths]] = 1
    eighth = (shape.angle / (2 * np.pi) * 8) % 8
    low = eighth.astype(np.intp) % 8
    part = eighth - np.floor(eighth)
    sharp = abrupt[low] * (1 - part) + abrupt[(low + 1) % 8] * part
    soft = np.float32(rng.uniform(0.25, 0.70)) * (1 - sharp) + np.float32(rng.uniform(0.07, 0.16)) * sharp
    return smoothstep(-0.35 * soft, 0.65 * soft, shape.height)


def colour_lesion(
    image: FloatArray, shape: Shape, findings: Findings, rng: np.random.Generator
) -> FloatArray:
    """Lay the lesion's pigments over skin, in place.

    Args:
        image: Skin, shape (H, W, 3), float32 RGB in [0, 1].
        shape: Outline.
        findings: Which colours to lay.
        rng: Source of randomness.

    Returns:
        Absorbance (3,) of the ground pigment, mean 1.
    """
    height, width = shape.mask.shape
    radius = shape.radius_px
    coverage = _coverage(rng, shape, findings)
    hue = np.exp(rng.normal(0, [0.16, 0.05, 0.08])).astype(np.float32)  # from reddish to olive brown
    pigment = MELANIN * hue
    pigment /= pigment.mean()

    blotches = fractal_noise(rng, height, width, 0.5 * radius, 5, gain=0.7)
    grain = fractal_noise(rng, height, width, max(0.06 * radius, 2.5), 3, gain=0.8)
    ground = max(0.28, math.exp(rng.normal(-0.7, 0.4)))
    drift = rng.uniform(0, 0.3) * findings.asymmetric_axes
    middle = rng.uniform(-0.15, 0.6) * np.clip(shape.height, 0, 1)
    texture = 0.12 if findings.structureless else 0.22
    density = ground * (1 + texture * blotches + 0.15 * grain + drift * shape.along + middle)
    optical = (coverage * np.clip(density, 0.05, None))[..., None] * pigment

    def zone(share: float, wavelength: float, fray: float = 0.35) -> FloatArray:
        """Soft-edged patches over about a share of the lesion, off the middle of an asymmetric one."""
        field = fractal_noise(rng, height, width, wavelength * radius, 4, gain=0.55)
        side = rng.uniform(0, 2 * math.pi)
        offset = rng.uniform(0.3, 0.9) * findings.asymmetric_axes
        field += np.float32(offset) * (shape.along * math.cos(side) + shape.height * math.sin(side))
        cut = float(np.quantile(field[shape.mask][::7], 1 - share)) if shape.mask.any() else 0.0
        return smoothstep(cut - fray, cut + fray, field) * coverage

    grainy = np.clip(1 + 0.25 * grain, 0.3, 1.7)
    if "dark_brown" in findings.colours:
        depth = rng.uniform(0.5, 1.1) * zone(
            rng.uniform(0.15, 0.55), rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.3)
        )
        optical += (depth * grainy)[..., None] * DENSE_MELANIN
    if "red" in findings.colours:
        depth = rng.uniform(0.25, 0.6) * zone(rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9), 0.8)
        optical += depth[..., None] * BLOOD
    if "black" in findings.colours:
        depth = rng.uniform(1.0, 1.9) * zone(
            rng.uniform(0.04, 0.25), rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.9)
        )
        optical += (depth * grainy)[..., None] * BLACK
    image *= np.exp(-optical)
    _veil(image, findings, zone, grain, rng)
    return pigment


def _veil(
    image: FloatArray,
    findings: Findings,
    zone: Callable[[float, float, float], FloatArray],
    grain: FloatArray,
    rng: np.random.Generator,
) -> None:
    """Blue-grey veil and white regression, in place: light that comes back from above the pigment."""
    if "blue_grey" in findings.colours:
        veil = zone(rng.uniform(0.08, 0.35), rng.uniform(0.3, 0.8), 1.1) * np.clip(1 + 0.2 * grain, 0.4, 1.5)
        tone = np.array([0.40, 0.42, 0.50], np.float32) * np.float32(rng.uniform(0.7, 1.15))
        image += (rng.uniform(0.35, 0.65) * np.clip(veil, 0, 1))[..., None] * (tone - image)
    if "white" in findings.colours:
        scar = zone(rng.uniform(0.05, 0.2), rng.uniform(0.3, 0.7), 1.0)
        tone = np.array([0.86, 0.78, 0.78], np.float32) * np.float32(rng.uniform(0.85, 1.1))
        image += (rng.uniform(0.4, 0.75) * scar)[..., None] * (tone - image)
