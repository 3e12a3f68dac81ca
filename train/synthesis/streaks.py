"""Painter of streaks: radial fingers of pigment at the border (radial streaming, pseudopods)."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from train.synthesis.arrays import BoolArray, FloatArray, largest_piece
from train.synthesis.canvas import Canvas, signed_depth

SEGMENTS = 7
"""Straight pieces of one finger: enough for a bend."""
FINE_LINE_PX = 6.0
"""Fingers are drawn at least this broad, then averaged down, so that they taper smoothly."""
FRACTION_BITS = 4
"""Sub-pixel bits of the coordinates that OpenCV draws with."""


def paint_streaks(canvas: Canvas, region: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Pigmented fingers that leave the border outwards, wherever `region` covers the border."""
    border, outward, spacing = _border_points(canvas, _pigmented_body(canvas), rng)
    height, width = region.shape
    row = np.clip(np.rint(border[:, 1]), 0, height - 1).astype(np.intp)
    column = np.clip(np.rint(border[:, 0]), 0, width - 1).astype(np.intp)
    chosen = region[row, column] > 0.4
    if not chosen.any():
        chosen[rng.integers(len(chosen))] = True
    density, wide = _draw_fingers(canvas, border[chosen], outward[chosen], spacing, rng)

    window = slice(0, height), slice(0, width)
    pigment = canvas.pigment * np.float32(0.8) + np.float32(0.2)  # a little blacker than the lesion
    # Up to the darkness of the rim from which they come, so that they belong to it.
    rim = (canvas.depth > 0) & (canvas.depth < 0.35 * canvas.radius_px)
    tone = np.median(canvas.image[rim], axis=0) if rim.any() else canvas.image[canvas.lesion].mean(axis=0)
    wanted = float(np.log(np.maximum(canvas.skin, 0.05) / np.maximum(tone, 0.03)).mean())
    canvas.darken(window, np.float32(np.clip(1.1 * wanted, 0.45, 1.8)) * density, pigment)
    return wide


def _pigmented_body(canvas: Canvas) -> BoolArray:
    """The lesion without its pale seam, (H, W): outlines are drawn wide; fingers start where pigment ends."""
    typical = float(np.median(canvas.density[canvas.lesion]))
    size = 2 * int(0.08 * canvas.radius_px) + 1
    dense = (
        cv2.blur((canvas.lesion & (canvas.density > 0.45 * typical)).astype(np.float32), (size, size)) > 0.5
    )
    body = largest_piece(dense & canvas.lesion)
    # Too little is left of a lesion that is pale or in pieces: its outline then has to do.
    return body if np.count_nonzero(body) > 0.3 * np.count_nonzero(canvas.lesion) else canvas.lesion


def _border_points(
    canvas: Canvas, body: BoolArray, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Points along the border (n, 2) as (x, y), unit vectors that leave it (n, 2), their spacing in px."""
    contours, _ = cv2.findContours(body.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0].astype(np.float64)  # (points, 2)
    step = np.hypot(*(np.roll(contour, -1, axis=0) - contour).T)
    along = np.concatenate([[0.0], step.cumsum()])
    closed = np.vstack([contour, contour[:1]])
    spacing = canvas.length(rng.uniform(0.045, 0.075), 2.6)
    count = max(3, int(along[-1] / spacing))
    at = np.arange(count)[rng.random(count) < rng.uniform(0.65, 1.0)]  # some gaps
    at = (at + rng.uniform(-0.45, 0.45, len(at))) * spacing % max(along[-1], 1e-6)
    points = np.stack([np.interp(at, along, closed[:, k]) for k in (0, 1)], axis=1)
    # Direction from a smoothed depth: a ragged border must not scatter the fingers.
    smooth = cv2.GaussianBlur(signed_depth(body), (0, 0), max(0.15 * canvas.radius_px, 1.0))
    gradient_x, gradient_y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    row, column = np.rint(points[:, 1]).astype(np.intp), np.rint(points[:, 0]).astype(np.intp)
    outward = -np.stack([gradient_x[row, column], gradient_y[row, column]], axis=1).astype(np.float64)
    return points, outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6), spacing


def _draw_fingers(
    canvas: Canvas,
    start: NDArray[np.float64],
    outward: NDArray[np.float64],
    spacing: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, BoolArray]:
    """Density of the fingers (H, W) in [0, 1] and the area they take up (H, W)."""
    height, width = canvas.lesion.shape
    count = len(start)
    irregular = canvas.irregularity
    spread = np.exp(rng.normal(0, 0.2 + 0.3 * irregular, count))
    length = canvas.length(rng.uniform(0.05, 0.12), 3.0) * np.minimum(spread, 1.7)
    inner = 0.9 * length + 0.06 * canvas.radius_px  # where a finger begins, inside the rim
    bend = rng.normal(0, 0.25, count)
    turn = rng.normal(0, 0.12 + 0.15 * irregular, count)
    bulb = (rng.random(count) < rng.uniform(0, 0.6)).astype(float)  # pseudopods end in a knob
    broad = rng.uniform(0.42, 0.68) * spacing * np.exp(rng.normal(0, 0.25, count))

    fade = rng.uniform(110, 255, count)  # of 255: fingers differ in strength

    factor = int(np.clip(math.ceil(FINE_LINE_PX / (0.4 * spacing)), 1, 4))
    fine = np.zeros((height * factor, width * factor), np.uint8)
    area = np.zeros((height, width), np.uint8)
    share = np.linspace(0, 1, SEGMENTS + 1)
    cosine, sine = np.cos(turn), np.sin(turn)
    heading = np.stack(
        [outward[:, 0] * cosine - outward[:, 1] * sine, outward[:, 0] * sine + outward[:, 1] * cosine], axis=1
    )
    sideways = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
    reach = -inner[:, None] + share * (inner + length)[:, None]  # (count, SEGMENTS + 1)
    path = (
        start[:, None, :]
        + reach[..., None] * heading[:, None, :]
        + (bend * length)[:, None, None] * np.square(share)[None, :, None] * sideways[:, None, :]
    )
    points = np.rint((path + 0.5) * factor * 2**FRACTION_BITS).astype(np.int32)
    for i in range(count):
        for k in range(SEGMENTS):
            knob = bulb[i] * math.exp(-(((share[k] - 0.88) / 0.12) ** 2))
            breadth = broad[i] * (1.25 - 0.85 * share[k] + 0.6 * knob)
            shade = fade[i] * min(1.0, 0.15 + 2 * share[k]) * (1 - 0.75 * share[k] ** 2 * (1 - 0.7 * bulb[i]))
            cv2.line(
                fine,
                points[i, k].tolist(),
                points[i, k + 1].tolist(),
                shade,
                max(1, round(breadth * factor)),
                cv2.LINE_AA,
                FRACTION_BITS,
            )
        ends = np.rint(path[i, [2, -1]]).astype(int)
        cv2.line(area, ends[0].tolist(), ends[1].tolist(), 1, max(2, round(1.6 * spacing)))
    if factor > 1:
        fine = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(fine.astype(np.float32) / np.float32(255), (0, 0), max(0.12 * spacing, 0.4))
    return np.asarray(soft, np.float32), area > 0
