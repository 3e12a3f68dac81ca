"""What tells paper from a screen: handwriting, stamps, and what a scanner adds."""

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from benchmarks.foreign.picture import Image

Generator = np.random.Generator

INK = (25, 35, 130)


def handwrite(
    draw: ImageDraw.ImageDraw, rng: Generator, start: tuple[float, float], letters: int, size: float
) -> None:
    """Draw a scribble of loops that looks like a line of handwriting.

    Args:
        draw: The page.
        rng: Of its shape.
        start: x and y of its left end, on the base line.
        letters: How many strokes.
        size: Height of a letter, in pixels.
    """
    x, y = start
    while letters > 0:
        word = int(min(letters, rng.integers(2, 8)))
        time = np.linspace(0, word, word * 12)
        tall = np.repeat(rng.choice([0.4, 0.5, 1.0], word, p=[0.5, 0.3, 0.2]), 12)
        across = x + size * (0.55 * time + 0.3 * np.sin(2 * np.pi * time))
        up = (
            y
            - size * tall * (0.5 - 0.5 * np.cos(2 * np.pi * time))
            + rng.normal(0, 0.3, len(time)).cumsum() * 0.3
        )
        draw.line(list(zip(across.tolist(), up.tolist(), strict=True)), fill=INK, width=2)
        x += size * (0.55 * word + 0.8)
        letters -= word


def stamp(image: Pillow.Image, rng: Generator, centre: tuple[int, int], text: str) -> None:
    """Press a round stamp with a text onto a page, slightly turned and not quite opaque."""
    side = 150
    ink = Pillow.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(ink)
    colour = (*rng.choice([[150, 20, 60], [40, 40, 160], [20, 110, 60]]).tolist(), 170)
    draw.ellipse((8, 8, side - 8, side - 8), outline=colour, width=4)
    draw.ellipse((20, 20, side - 20, side - 20), outline=colour, width=2)
    draw.text(
        (side // 2, side // 2),
        text.replace(" ", "\n"),
        colour,
        ImageFont.load_default(16),
        "mm",
        align="center",
    )
    turned = ink.rotate(float(rng.uniform(-35, 35)), Pillow.Resampling.BICUBIC)
    image.paste(turned, (centre[0] - side // 2, centre[1] - side // 2), turned)


def make_scan(page: Image, rng: Generator) -> Image:
    """Scan a page: a little askew, on toned paper, unevenly lit, blurred, grainy and sometimes in grey."""
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(rng.uniform(-4, 4)), float(rng.uniform(0.9, 1.05))
    )
    behind = (int(rng.integers(20, 230)),) * 3
    turned = cv2.warpAffine(page, turn, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=behind)
    tone = np.sort(rng.uniform(0.78, 1, 3))[::-1]  # aged paper: less green than red, less blue than green
    light = np.linspace(rng.uniform(0.8, 1), rng.uniform(0.8, 1), width)[None, :, None]
    soft = cv2.GaussianBlur(turned, (0, 0), float(rng.uniform(0.4, 1.1)))
    scan = (soft * tone * light + rng.normal(0, rng.uniform(2, 8), page.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        scan = np.asarray(cv2.cvtColor(cv2.cvtColor(scan, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    return scan
