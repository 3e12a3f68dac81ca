"""Dermoscopy photographs that are damaged until nobody can read them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.foreign.picture import Image, Picture, Set
from biounet_edge.errors import InputError
from biounet_edge.photographs.decoding import decode

Generator = np.random.Generator

PER_DAMAGE: Final[dict[Set, int]] = {"choose": 1, "judge": 2}
"""Photographs that each damage is done to; no photograph is damaged twice."""


def damage_photographs(of: Set, photographs: Sequence[Path]) -> Iterator[Picture]:
    """Do every damage to photographs drawn at random.

    Args:
        of: The set.
        photographs: Dermoscopy photographs; for `judge` those that nothing was chosen or trained on.

    Raises:
        InputError: If there are too few photographs.
        ImageError: If one cannot be read.
    """
    needed = len(DAMAGES) * PER_DAMAGE[of]
    if len(photographs) < needed:
        raise InputError(
            f"{needed} photographs are needed for the set {of!r}, and there are {len(photographs)}"
        )
    rng = np.random.default_rng([29, of == "judge"])
    drawn = iter(rng.choice(np.array(sorted(photographs), dtype=object), needed, replace=False))
    for name, damage in DAMAGES.items():
        for copy in range(PER_DAMAGE[of]):
            path = next(drawn)
            yield Picture(of, "damaged", f"{name}-{copy}", f"{path.stem}, damaged", damage(decode(path), rng))


def _blur(image: Image, rng: Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[1] * rng.uniform(0.06, 0.1)), np.uint8)


def _shake(image: Image, rng: Generator) -> Image:
    side = image.shape[1] // 2 | 1
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1 / side
    turn = cv2.getRotationMatrix2D((side // 2, side // 2), float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (side, side))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _shuffle_blocks(image: Image, rng: Generator) -> Image:
    side = image.shape[0] // 8
    rows, columns = image.shape[0] // side, image.shape[1] // side
    blocks = image[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    mixed = rng.permutation(blocks.reshape(-1, side, side, 3)).reshape(rows, columns, side, side, 3)
    return mixed.swapaxes(1, 2).reshape(rows * side, columns * side, 3)


def _rotate_channels(image: Image, rng: Generator) -> Image:
    return np.ascontiguousarray(image[..., [[1, 2, 0], [2, 0, 1]][rng.integers(2)]])


def _invert(image: Image, rng: Generator) -> Image:
    return 255 - image


def _turn_hue(image: Image, rng: Generator) -> Image:
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    colours[..., 0] = (colours[..., 0].astype(int) + rng.integers(60, 120)) % 180
    colours[..., 1] = np.maximum(colours[..., 1], 120)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB), np.uint8)


def _compress(image: Image, rng: Generator) -> Image:
    small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    _, file = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 1])
    read = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    return _resize_like(np.asarray(read, np.uint8), image, cv2.INTER_NEAREST)


def _half_grey(image: Image, rng: Generator) -> Image:
    damaged = image.copy()
    damaged[image.shape[0] * 4 // 10 :] = 128
    return damaged


def _mostly_missing(image: Image, rng: Generator) -> Image:
    damaged = np.zeros_like(image)
    rows = image.shape[0] // 6
    damaged[:rows] = image[:rows]
    return damaged


def _posterise(image: Image, rng: Generator) -> Image:
    return np.where(image > image.mean(axis=(0, 1)), 255, 0).astype(np.uint8)


def _impulse_noise(image: Image, rng: Generator) -> Image:
    noise = rng.integers(0, 256, image.shape, np.uint8)
    return np.where(rng.random(image.shape[:2])[..., None] < 0.75, noise, image)


def _gaussian_noise(image: Image, rng: Generator) -> Image:
    return (image + rng.normal(0, 130, image.shape)).clip(0, 255).astype(np.uint8)


def _shift_rows(image: Image, rng: Generator) -> Image:
    """Lose the line sync, as a bad cable does."""
    shifts = rng.integers(0, image.shape[1], len(image))
    return np.stack([np.roll(row, shift, axis=0) for row, shift in zip(image, shifts, strict=True)])


def _one_channel(image: Image, rng: Generator) -> Image:
    damaged = np.zeros_like(image)
    channel = rng.integers(3)
    damaged[..., channel] = image[..., channel]
    return damaged


def _edges(image: Image, rng: Generator) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(cv2.Canny(grey, 20, 50), cv2.COLOR_GRAY2RGB), np.uint8)


def _pixelate(image: Image, rng: Generator) -> Image:
    return _resize_like(cv2.resize(image, (7, 6), interpolation=cv2.INTER_AREA), image, cv2.INTER_NEAREST)


def _overexpose(image: Image, rng: Generator) -> Image:
    return (image * 4.0 + 60).clip(0, 255).astype(np.uint8)


def _underexpose(image: Image, rng: Generator) -> Image:
    return (image * 0.05 + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def _warp(image: Image, rng: Generator) -> Image:
    height, width = image.shape[:2]
    y, x = np.indices((height, width)).astype(np.float32)
    bend = 0.2 * width * np.sin(2 * np.pi * y / (height / 5))
    bent = 0.2 * height * np.sin(2 * np.pi * x / (width / 5))
    return np.asarray(
        cv2.remap(image, (x + bend).astype(np.float32), (y + bent).astype(np.float32), cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REFLECT), np.uint8
    )  # fmt: skip


def _paste_into_slide(image: Image, rng: Generator) -> Image:
    """Show the photograph small on the slide of a talk."""
    slide = np.full((540, 960, 3), 250, np.uint8)
    slide[:80] = (20, 60, 120)
    cv2.putText(
        slide, "Case 7: follow-up after 6 months", (30, 52), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (255,) * 3, 2
    )
    for row, width in enumerate(rng.integers(150, 420, 7)):
        cv2.circle(slide, (50, 150 + 50 * row), 5, (20, 60, 120), -1)
        cv2.line(slide, (70, 150 + 50 * row), (70 + int(width), 150 + 50 * row), (60, 60, 60), 9)
    small = cv2.resize(image, (240, 180), interpolation=cv2.INTER_AREA)
    slide[200:380, 660:900] = small
    return slide


def _resize_like(small: Image, image: Image, how: int) -> Image:
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=how), np.uint8)


DAMAGES: Final[dict[str, Callable[[Image, Generator], Image]]] = {
    "blur": _blur,
    "shake": _shake,
    "shuffled-blocks": _shuffle_blocks,
    "rotated-channels": _rotate_channels,
    "inverted": _invert,
    "turned-hue": _turn_hue,
    "extreme-jpeg": _compress,
    "half-grey": _half_grey,
    "mostly-missing": _mostly_missing,
    "posterised": _posterise,
    "impulse-noise": _impulse_noise,
    "gaussian-noise": _gaussian_noise,
    "shifted-rows": _shift_rows,
    "one-channel": _one_channel,
    "edges": _edges,
    "pixelated": _pixelate,
    "overexposed": _overexpose,
    "underexposed": _underexpose,
    "warped": _warp,
    "slide": _paste_into_slide,
}
"""What is done to a photograph, by the name of the damage."""
