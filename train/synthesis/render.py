"""The two ways to a picture with known structures: render a lesion, or paint on a photograph."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.synthesis import artefacts
from train.synthesis.arrays import BoolArray, ByteArray
from train.synthesis.canvas import Canvas, make_canvas, signed_depth
from train.synthesis.findings import draw_findings
from train.synthesis.lesion import colour_lesion, draw_shape
from train.synthesis.regions import choose_region
from train.synthesis.skin import render_skin
from train.synthesis.structures import PAINTERS


@dataclass(frozen=True)
class PaintedImage:
    """A photograph with painted structures."""

    image: ByteArray
    """Shape (H, W, 3), uint8 RGB."""
    indicator_masks: dict[str, BoolArray]
    """Where each of the five indicators was painted, shape (H, W); all false where it was not."""


@dataclass(frozen=True)
class RenderedImage:
    """A rendered dermoscopy image with its truth."""

    image: ByteArray
    """Shape (H, W, 3), uint8 RGB."""
    lesion_mask: BoolArray
    """Where the lesion is, shape (H, W)."""
    indicator_masks: dict[str, BoolArray]
    """Where each of the five indicators is, shape (H, W); all false where absent."""
    melanoma: bool
    """Diagnosis."""


def render_lesion(rng: np.random.Generator, height: int, width: int) -> RenderedImage:
    """Render a dermoscopy image of one lesion.

    Args:
        rng: Source of randomness; its state alone decides the image.
        height: Rows, at least 32.
        width: Columns, at least 32.

    Returns:
        The image and its truth.

    Raises:
        InputError: If the size is too small to show a structure.
    """
    if min(height, width) < 32:
        raise InputError(
            f"Expected an image of at least 32 x 32 px, got {height} x {width}; ask for a larger one."
        )
    findings = draw_findings(rng)
    melanoma = bool(rng.random() < findings.melanoma_probability)
    unit = min(height, width)
    # Sizes as in ISIC 2018, where the middle half of lesions takes up 7 to 32 % of the image.
    radius = unit * float(np.clip(math.exp(rng.normal(math.log(0.255), 0.36)), 0.12, 0.50))
    room = max(0.0, 0.46 - radius / unit)
    offset = np.clip(rng.normal(0, 0.07, 2), -room, room)  # photographers centre the lesion, more or less
    centre = (height * (0.5 + float(offset[0])), width * (0.5 + float(offset[1])))

    image = render_skin(rng, height, width)
    shape = draw_shape(rng, findings, height, width, radius, centre)
    pigment = colour_lesion(image, shape, findings, rng)
    canvas = make_canvas(image, shape.mask, signed_depth(shape.mask), findings.irregularity, pigment)
    masks = _paint(canvas, findings.indicators, rng)
    lesion = shape.mask | masks["streaks"]  # fingers of pigment are part of the lesion

    if rng.random() < 0.1:
        artefacts.draw_glare(image, lesion, rng)
    if rng.random() < 0.45:
        artefacts.draw_hairs(image, rng)
    if rng.random() < 0.15:
        artefacts.draw_bubbles(image, rng)
    if rng.random() < 0.2:
        artefacts.draw_ruler(image, rng)
    if rng.random() < 0.22:
        reach = math.hypot(centre[0] - height / 2, centre[1] - width / 2) + 1.25 * radius
        widest = math.hypot(height, width) / 2
        field = max(rng.uniform(0.62, 0.95) * widest, min(reach, 0.95 * widest))
        artefacts.draw_vignette(image, (height / 2, width / 2), field, rng)
    exposed = artefacts.expose(image, rng)
    pixels = np.rint(exposed * 255).astype(np.uint8)
    return RenderedImage(pixels, lesion, masks, melanoma)


def paint_indicators(
    image: ByteArray, lesion_mask: BoolArray, indicators: Collection[str], rng: np.random.Generator
) -> PaintedImage:
    """Paint structures into the lesion of a photograph.

    Args:
        image: Photograph, shape (H, W, 3), uint8 RGB; left as it is.
        lesion_mask: Where its lesion is, shape (H, W), bool.
        indicators: Names of the structures to paint, in any order.
        rng: Source of randomness.

    Returns:
        A painted copy and where each structure is.

    Raises:
        InputError: If a name is unknown, shapes differ, or there is no lesion to paint on.
    """
    unknown = sorted(set(indicators) - set(INDICATORS))
    if unknown:
        raise InputError(
            f"Expected indicators among {', '.join(INDICATORS)}, got {', '.join(unknown)}; correct the name."
        )
    if image.ndim != 3 or image.shape[2] != 3 or lesion_mask.shape != image.shape[:2]:
        raise InputError(
            f"Expected an image (H, W, 3) and a lesion mask (H, W), got {image.shape} and "
            f"{lesion_mask.shape}; resize the mask to the image."
        )
    if not indicators:
        return PaintedImage(image.copy(), {name: np.zeros(lesion_mask.shape, bool) for name in INDICATORS})
    lesion = lesion_mask.astype(bool)
    if not lesion.any():
        raise InputError("Expected a lesion to paint on, got an empty lesion mask; leave this image out.")
    pixels = image.astype(np.float32) / np.float32(255)
    canvas = make_canvas(pixels, lesion, signed_depth(lesion), float(rng.random()))
    masks = _paint(canvas, indicators, rng)
    return PaintedImage(canvas.to_bytes(), masks)


def _paint(canvas: Canvas, indicators: Collection[str], rng: np.random.Generator) -> dict[str, BoolArray]:
    """Paint the named indicators, each on a region of its own; masks (H, W) of all five, in usual order."""
    masks = {name: np.zeros(canvas.lesion.shape, bool) for name in INDICATORS}
    for name, painter in PAINTERS.items():
        if name in indicators:
            masks[name] = painter(canvas, choose_region(canvas, name, rng), rng)
    return masks
