"""What comes between a lesion and its file: hairs, bubbles, rulers, the instrument's rim, the camera."""

import math

import cv2
import numpy as np

from train.synthesis.arrays import BoolArray, FloatArray
from train.synthesis.noise import smooth_noise, smoothstep

FRACTION_BITS = 4
"""Sub-pixel bits of the coordinates that OpenCV draws with."""
INK_FINE_PX = 1600
"""Thin strokes are drawn on a canvas of at least this many px a side, then averaged down."""


def _stroke_layer(height: int, width: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.uint8]], int]:
    """An empty finer canvas to draw strokes on, and its factor."""
    factor = int(np.clip(math.ceil(INK_FINE_PX / max(height, width)), 1, 4))
    return np.zeros((height * factor, width * factor), np.uint8), factor


def draw_hairs(image: FloatArray, rng: np.random.Generator) -> None:
    """Lay curved, tapered hairs over the picture (H, W, 3), in place."""
    height, width = image.shape[:2]
    unit = min(height, width)
    layer, factor = _stroke_layer(height, width)
    count = int(np.exp(rng.uniform(0, math.log(26))))
    common = rng.uniform(0, 2 * math.pi)
    breadth = rng.uniform(0.0028, 0.0065) * unit
    t = np.linspace(0, 1, 24)[:, None]
    for _ in range(count):
        start = rng.uniform(-0.1, 1.1, 2) * (width, height)
        heading = common + rng.normal(0, 0.7)
        length = rng.uniform(0.3, 1.3) * unit
        curl = rng.normal(0, 1.1, 2)
        ends = [
            np.array([math.cos(a), math.sin(a)]) for a in (heading, heading + curl[0], heading + curl.sum())
        ]
        middle = start + 0.5 * length * ends[0]
        late = middle + 0.3 * length * ends[1]
        last = late + 0.35 * length * ends[2]
        curve = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * middle + 3 * (1 - t) * t**2 * late + t**3 * last
        points = np.rint(curve * factor * 2**FRACTION_BITS).astype(np.int32)
        own = breadth * math.exp(rng.normal(0, 0.25)) * factor
        shade = rng.uniform(170, 255)
        for k in range(len(points) - 1):
            thickness = max(
                1, round(own * min(1.0, 0.4 + 5 * k / len(points)) * (1 - 0.75 * k / len(points)))
            )
            cv2.line(
                layer,
                points[k].tolist(),
                points[k + 1].tolist(),
                shade,
                thickness,
                cv2.LINE_AA,
                FRACTION_BITS,
            )
    ink = _shrink(layer, height, width)
    dark = rng.random() < 0.75
    colour = np.array([0.13, 0.09, 0.08] if dark else [0.50, 0.37, 0.24], np.float32)
    shadow = cv2.GaussianBlur(ink, (0, 0), max(1.2 * breadth, 0.7))
    image *= 1 - np.float32(0.12) * shadow[..., None]
    image += (rng.uniform(0.75, 0.92) if dark else rng.uniform(0.4, 0.65)) * ink[..., None] * (colour - image)


def _shrink(layer: np.ndarray[tuple[int, int], np.dtype[np.uint8]], height: int, width: int) -> FloatArray:
    """A stroke layer as ink (H, W) in [0, 1]."""
    ink = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(ink / np.float32(255), np.float32)


def draw_ruler(image: FloatArray, rng: np.random.Generator) -> None:
    """Print millimetre ticks near an edge of the picture (H, W, 3), in place."""
    height, width = image.shape[:2]
    unit = min(height, width)
    layer, factor = _stroke_layer(height, width)
    side = rng.integers(4)
    turn = side * math.pi / 2 + rng.normal(0, 0.25)
    along = np.array([math.cos(turn), math.sin(turn)])
    inward = np.array([-along[1], along[0]])
    middle = np.array([width, height]) / 2 - inward * rng.uniform(0.36, 0.46) * unit
    gap = rng.uniform(0.03, 0.06) * unit
    ticks = int(rng.integers(8, 22))
    for k in range(ticks):
        at = middle + (k - ticks / 2) * gap * along
        tip = at + inward * unit * (0.035 if k % 5 == 0 else 0.02)
        pair = np.rint(np.stack([at, tip]) * factor * 2**FRACTION_BITS).astype(np.int32)
        thickness = max(1, round(0.004 * unit * factor))
        cv2.line(layer, pair[0].tolist(), pair[1].tolist(), 255, thickness, cv2.LINE_AA, FRACTION_BITS)
    ink = cv2.GaussianBlur(_shrink(layer, height, width), (0, 0), max(0.0015 * unit, 0.35))
    image *= 1 - np.float32(rng.uniform(0.6, 0.85)) * ink[..., None]


def draw_bubbles(image: FloatArray, rng: np.random.Generator) -> None:
    """Lay air bubbles in the gel, each a dark ring with a highlight, over the picture (H, W, 3), in place."""
    height, width = image.shape[:2]
    unit = min(height, width)
    for _ in range(int(rng.integers(2, 16))):
        radius = max(math.exp(rng.normal(math.log(0.010), 0.5)) * unit, 1.6)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        reach = int(1.6 * radius) + 2
        rows = slice(max(0, int(y) - reach), int(y) + reach)
        columns = slice(max(0, int(x) - reach), int(x) + reach)
        dy = np.arange(height, dtype=np.float32)[rows, None] - np.float32(y)
        dx = np.arange(width, dtype=np.float32)[None, columns] - np.float32(x)
        distance = np.sqrt(dx**2 + dy**2) / np.float32(radius)
        rim = 0.22 * np.exp(-np.square((distance - 1) / 0.2))
        light = (dx + dy) / np.float32(radius * 1.4) * np.exp(-np.square((distance - 0.9) / 0.25))
        image[rows, columns] *= (1 - rim - 0.28 * light)[..., None]


def draw_glare(image: FloatArray, lesion: BoolArray, rng: np.random.Generator) -> None:
    """Lay small specular reflections of the lamp on the lesion, over the picture (H, W, 3), in place."""
    height, width = image.shape[:2]
    radius = math.sqrt(max(1.0, float(np.count_nonzero(lesion))) / math.pi)
    shine = smooth_noise(rng, height, width, max(0.035 * radius, 1.4))
    place = smooth_noise(rng, height, width, 0.5 * radius)
    weight = smoothstep(2.7, 3.9, shine + 0.6 * place) * lesion
    image += np.float32(rng.uniform(0.3, 0.7)) * weight[..., None] * (np.float32(0.97) - image)


def draw_vignette(
    image: FloatArray, centre: tuple[float, float], radius_px: float, rng: np.random.Generator
) -> None:
    """Blacken what lies outside the dermoscope's round field, over the picture (H, W, 3), in place."""
    height, width = image.shape[:2]
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(centre[1])
    distance = np.sqrt(x * x + y * y) / np.float32(radius_px)
    soft = rng.uniform(0.02, 0.16)
    black = np.array(rng.uniform(0, 0.05, 3), np.float32)
    for channel in range(3):  # lenses spread colours: the rim has a faint fringe
        edge = 1 + 0.002 * (channel - 1)
        seen = 1 - smoothstep(edge - soft, edge + 0.3 * soft, distance)
        image[..., channel] = black[channel] + seen * (image[..., channel] - black[channel])


def expose(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The camera's part: focus, white balance and sensor noise. Returns (H, W, 3) in [0, 1]."""
    height, width = image.shape[:2]
    sigma = rng.uniform(0.0004, 0.0017) * max(height, width)
    if sigma > 0.25:  # px; less changes nothing
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    balance = np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    noise = rng.uniform(0.003, 0.01) * cv2.GaussianBlur(grain, (0, 0), 0.6)[..., None]
    return np.asarray(np.clip(image * balance + noise, 0, 1), np.float32)
