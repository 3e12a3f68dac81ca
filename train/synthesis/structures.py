"""Painters of the five indicators.

All share one signature: (canvas, region, rng) -> mask. `region` (H, W) in [0, 1] says where the structure
may lie and how strongly, the mask (H, W) is what an expert would outline. Rendered lesions and photographs
use the same painters. Sizes are shares of the lesion's radius, read off ISIC images.

Source of the definitions:
    Kittler et al., Standardization of terminology in dermoscopy, J. Am. Acad. Dermatol. 74 (2016) 1093-1106.
"""

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from train.synthesis.arrays import BoolArray, FloatArray
from train.synthesis.canvas import Canvas, Window
from train.synthesis.cells import draw_cells
from train.synthesis.noise import smooth_noise, smoothstep
from train.synthesis.streaks import paint_streaks

Painter = Callable[[Canvas, FloatArray, np.random.Generator], BoolArray]

MASK_LEVEL = 0.4
"""Strength of the region from which an expert would count a place as covered."""


def find_window(region: FloatArray, margin_px: int) -> Window:
    """Smallest rectangle around all of a region above zero, widened by a margin."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    top, left = max(0, rows[0] - margin_px), max(0, columns[0] - margin_px)
    return slice(top, rows[-1] + 1 + margin_px), slice(left, columns[-1] + 1 + margin_px)


def paint_pigment_network(canvas: Canvas, region: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Brown lines that join to a honeycomb around paler holes."""
    window = find_window(region, 1)
    strength = region[window]
    height, width = strength.shape
    irregular = canvas.irregularity
    spacing = canvas.length(rng.uniform(0.055, 0.10), 3.4)
    cells = draw_cells(
        rng,
        height,
        width,
        spacing,
        jitter=0.17 + 0.12 * irregular,
        warp=0.45 + 0.4 * irregular,
        merged=0.10 + 0.15 * irregular,
    )
    # Lines swell, above all where they meet, thin out and break; in an atypical network more so.
    swell = cells.enlarge(smooth_noise(rng, height, width, 1.1 * spacing))
    meeting = smoothstep(0.5, 0.75, cells.centre_distance)  # walls meet far from all centres
    line_width = rng.uniform(0.10, 0.16) * np.exp((0.25 + 0.2 * irregular) * swell) * (1 + 0.35 * meeting)
    lines = cells.shrink(np.exp(-np.square(cells.wall_distance / line_width)))
    broken = smoothstep(-1.7, 0.2 + 0.5 * irregular, smooth_noise(rng, height, width, 1.4 * spacing))
    visible = smoothstep(-1.5, 0.8 * irregular, smooth_noise(rng, height, width, 5 * spacing))
    strength = strength * (0.4 + 0.6 * visible) * (0.25 + 0.75 * broken)

    # Faint on a pale lesion; on a dark one, where nothing gets much darker, the holes let skin through.
    density = canvas.density[window]
    contrast = rng.uniform(0.8, 1.25) * np.clip(0.22 + 0.5 * density, 0.25, 0.8)
    holes = rng.uniform(0.03, 0.14) + 0.12 * smoothstep(0.8, 2.0, density)
    canvas.blend(window, holes * strength * (1 - lines), canvas.skin)
    canvas.darken(window, contrast * strength * lines)
    return region > MASK_LEVEL


def paint_negative_network(canvas: Canvas, region: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Light serpiginous lines that join around dark, elongated, curved islands."""
    window = find_window(region, 1)
    strength = region[window]
    height, width = strength.shape
    spacing = canvas.length(rng.uniform(0.08, 0.13), 4.2)
    cells = draw_cells(
        rng, height, width, spacing, jitter=0.22, stretch=rng.uniform(1.5, 2.2), warp=0.8, merged=0.12
    )
    swell = cells.enlarge(smooth_noise(rng, height, width, 2 * spacing))
    line_width = rng.uniform(0.13, 0.18) * np.exp(0.35 * swell)
    lines = cells.shrink(np.exp(-np.square(cells.wall_distance / line_width)))
    islands = cells.shrink(smoothstep(0.12, 0.38, cells.wall_distance))

    white = np.maximum(canvas.skin, 0.55)
    colour = (white + 0.35 * (1 - white)).astype(np.float32)  # paler than skin: fibrosis, not missing pigment
    shown = strength * (0.45 + 0.55 * smoothstep(-1.2, 0.6, smooth_noise(rng, height, width, 3 * spacing)))
    canvas.darken(
        window,
        rng.uniform(0.15, 0.4) * np.clip(0.4 + 0.6 * canvas.density[window], 0.4, 1) * strength * islands,
    )
    canvas.blend(window, np.float32(rng.uniform(0.32, 0.55)) * shown * lines, colour)
    return region > MASK_LEVEL


def paint_globules(canvas: Canvas, region: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Round to polygonal dark dots in clusters."""
    window = find_window(region, 1)
    strength = region[window]
    height, width = strength.shape
    irregular = canvas.irregularity
    spacing = canvas.length(math.exp(rng.uniform(math.log(0.065), math.log(0.15))), 4.2)
    cells = draw_cells(
        rng, height, width, spacing, jitter=0.15 + 0.1 * irregular, warp=0.45, stretch=rng.uniform(1, 1.3)
    )
    # One row per cell: radius in spacings and density; absent where the draw says so.
    radius = rng.uniform(0.26, 0.42) * np.exp(rng.normal(0, 0.12 + 0.25 * irregular, cells.count))
    radius *= rng.random(cells.count) < rng.uniform(0.6, 0.95)
    strongest = cells.enlarge(strength).argmax()
    radius[cells.label.flat[strongest]] = 0.42  # a globule at least, where the region is strongest
    density = rng.uniform(0.45, 1.2, cells.count)
    gap = rng.uniform(0.06, 0.14)
    within = np.minimum(
        radius.astype(np.float32)[cells.label] - cells.centre_distance, cells.wall_distance - gap
    )
    soft = 0.14  # spacings; how far a globule's edge fades
    dots = cells.shrink(smoothstep(-soft, soft, within) * density.astype(np.float32)[cells.label])
    # Only whole globules: a globule shows as much as the region is strong, without a cut through it.
    shown = dots * smoothstep(0.15, 0.6, strength)

    ground = canvas.density[window]
    # On black pigment, globules show against a paler ground.
    canvas.blend(
        window, 0.2 * smoothstep(0.8, 2.0, ground) * strength * (1 - np.clip(dots, 0, 1)), canvas.skin
    )
    pigment = canvas.pigment * np.float32(0.75) + np.float32(0.25)  # denser, so less brown than the lesion
    canvas.darken(window, rng.uniform(0.8, 1.3) * np.clip(0.45 + 0.5 * ground, 0.45, 1.1) * shown, pigment)

    covered = np.zeros(region.shape, bool)
    size = int(2 * round(0.5 * spacing) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    covered[window] = cv2.morphologyEx((shown > 0.25).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return covered


def paint_milia_like_cysts(canvas: Canvas, region: FloatArray, rng: np.random.Generator) -> BoolArray:
    """A few round whitish or yellowish spots: small and starry, or larger and cloudy."""
    weight = np.square(region).ravel().cumsum(dtype=np.float64)
    count = int(np.exp(rng.uniform(math.log(2), math.log(16))))
    places = np.searchsorted(weight, rng.random(count) * weight[-1])
    cloudy = rng.random() < 0.5
    yellow = np.array([1.0, rng.uniform(0.90, 0.98), rng.uniform(0.72, 0.95)], np.float32)
    height, width = region.shape
    covered = np.zeros(region.shape, bool)
    for place in places:
        y, x = divmod(int(place), width)
        radius = canvas.length(rng.uniform(0.035, 0.075) if cloudy else rng.uniform(0.02, 0.045), 1.3)
        reach = int(3 * radius) + 2
        window = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        dy = np.arange(height, dtype=np.float32)[window[0], None] - np.float32(y + rng.uniform(-0.5, 0.5))
        dx = np.arange(width, dtype=np.float32)[None, window[1]] - np.float32(x + rng.uniform(-0.5, 0.5))
        turn, squeeze = rng.uniform(0, math.pi), rng.uniform(1, 1.35)
        along = dx * math.cos(turn) + dy * math.sin(turn)
        across = (dy * math.cos(turn) - dx * math.sin(turn)) * squeeze
        distance = np.sqrt(along**2 + across**2) / np.float32(radius)
        spot = np.exp(-np.power(distance, 2.0 if cloudy else 3.0)).astype(np.float32)
        local = canvas.image[window][min(y, reach), min(x, reach)]
        colour = (local + 0.75 * (yellow - local)).astype(np.float32)
        canvas.blend(window, rng.uniform(0.55, 0.8) * spot, colour)
        if not cloudy:  # the sharp highlight that makes it a star
            highlight = np.exp(-np.square(distance / 0.5)).astype(np.float32)
            canvas.blend(window, np.float32(0.5) * highlight, np.ones(3, np.float32))
        covered[window] |= distance < 1.25
    return covered & canvas.lesion


PAINTERS: Final[dict[str, Painter]] = {
    "pigment_network": paint_pigment_network,
    "globules": paint_globules,
    "negative_network": paint_negative_network,
    "streaks": paint_streaks,
    "milia_like_cyst": paint_milia_like_cysts,
}
"""In painting order: what lies deeper in the skin first."""
