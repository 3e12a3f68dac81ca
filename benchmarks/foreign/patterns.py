"""Black, white, uniform colours, gradients, gratings and noise."""

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.foreign.picture import Image, Picture, Set

Generator = np.random.Generator

SIZES: Final = ((256, 256), (450, 600), (600, 450), (512, 512))
"""Heights and widths, drawn at random."""

UNIFORM: Final[dict[Set, dict[str, tuple[int, int, int]]]] = {
    "choose": {"nearly-black": (3, 3, 3), "nearly-white": (250, 250, 250), "brown": (120, 80, 60)},
    "judge": {
        "black": (0, 0, 0),
        "white": (255, 255, 255),
        "grey": (128, 128, 128),
        "skin-tone": (224, 172, 150),
        "blue": (20, 40, 200),
    },
}
"""Pictures of one colour: black and white would be the same picture in both sets."""


def make_patterns(of: Set) -> Iterator[Picture]:
    """Make the patterns of one set: one of each in `choose`, two in `judge`."""
    size = {"choose": (450, 600), "judge": (512, 512)}[of]
    for name, colour in UNIFORM[of].items():
        yield Picture(of, "patterns", f"plain-{name}", "made", np.full((*size, 3), colour, np.uint8))
    for place, (name, make) in enumerate(PATTERNS.items()):
        for copy in range({"choose": 1, "judge": 2}[of]):
            rng = np.random.default_rng([17, of == "judge", place, copy])
            height, width = SIZES[rng.integers(len(SIZES))]
            yield Picture(of, "patterns", f"{name}-{copy}", "made", make(rng, height, width))


def _blend(weight: NDArray[np.float64], rng: Generator) -> Image:
    """Mix two random colours by a weight in [0, 1], shape (H, W)."""
    first, second = rng.integers(0, 256, (2, 3))
    mixed = first + weight[..., None] * (second - first)  # (H, W, 3)
    return mixed.round().astype(np.uint8)


def _grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return y, x


def _linear(rng: Generator, height: int, width: int) -> Image:
    y, x = _grid(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * x + np.sin(angle) * y
    return _blend((slope - slope.min()) / np.ptp(slope), rng)


def _grey_ramp(rng: Generator, height: int, width: int) -> Image:
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)[:: rng.choice([1, -1])]
    return np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()


def _radial(rng: Generator, height: int, width: int) -> Image:
    y, x = _grid(height, width)
    distance = np.hypot(y - rng.uniform(0.2, 0.8), x - rng.uniform(0.2, 0.8))
    return _blend(distance / distance.max(), rng)


def _grating(rng: Generator, height: int, width: int) -> Image:
    y, x = _grid(height, width)
    wave = np.sin(2 * np.pi * (rng.uniform(5, 40) * x + rng.uniform(5, 40) * y))
    return _blend((wave + 1) / 2, rng)


def _checkerboard(rng: Generator, height: int, width: int) -> Image:
    side = int(rng.integers(8, 64))
    y, x = np.indices((height, width)) // side
    return _blend(((y + x) % 2).astype(float), rng)


def _bars(rng: Generator, height: int, width: int) -> Image:
    colours = rng.permutation(np.array(np.meshgrid(*[[0, 192]] * 3)).T.reshape(-1, 3)).astype(np.uint8)
    bars = colours[np.arange(width) * len(colours) // width]
    return np.broadcast_to(bars[None], (height, width, 3)).copy()


def _gaussian_noise(rng: Generator, height: int, width: int) -> Image:
    return (
        rng.normal(rng.uniform(80, 180, 3), rng.uniform(20, 70), (height, width, 3))
        .clip(0, 255)
        .astype(np.uint8)
    )


def _grey_noise(rng: Generator, height: int, width: int) -> Image:
    return rng.integers(0, 256, (height, width, 1), np.uint8).repeat(3, axis=2)


def _uniform_noise(rng: Generator, height: int, width: int) -> Image:
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def _salt_and_pepper(rng: Generator, height: int, width: int) -> Image:
    return rng.choice(np.array([0, 128, 255], np.uint8), (height, width, 1), p=[0.2, 0.6, 0.2]).repeat(
        3, axis=2
    )


def _dark_frame(rng: Generator, height: int, width: int) -> Image:
    """What a camera sees under its cap."""
    return rng.poisson(rng.uniform(1, 4), (height, width, 3)).clip(0, 255).astype(np.uint8)


def _clouds(rng: Generator, height: int, width: int) -> Image:
    """Noise whose power falls with the square of its frequency, as in natural scenes."""
    return _blend(_scale(_pink(rng, height, width, 2)), rng)


def _skin_coloured_clouds(rng: Generator, height: int, width: int) -> Image:
    shade = _scale(_pink(rng, height, width, 2))[..., None]
    skin, lesion = np.array([228, 180, 160]), np.array([110, 65, 50])
    return (skin + shade**2 * (lesion - skin)).round().astype(np.uint8)


def _colour_clouds(rng: Generator, height: int, width: int) -> Image:
    layers = [_scale(_pink(rng, height, width, 1.5)) for _ in range(3)]
    return (np.stack(layers, axis=-1) * 255).round().astype(np.uint8)


def _voronoi(rng: Generator, height: int, width: int) -> Image:
    count = int(rng.integers(8, 40))
    places = rng.uniform(0, 1, (count, 2, 1, 1))
    y, x = _grid(height, width)
    nearest = np.hypot(places[:, 0] - y, places[:, 1] - x).argmin(axis=0)  # (H, W)
    return rng.integers(0, 256, (count, 3), np.uint8)[nearest]


def _blurred_noise(rng: Generator, height: int, width: int) -> Image:
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(2, 8))).astype(np.float32)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)


def _pink(rng: Generator, height: int, width: int, power: float) -> NDArray[np.float64]:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency**power
    spectrum[0, 0] = 0
    return np.fft.irfft2(spectrum, (height, width))


def _scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.min()) / np.ptp(values)


PATTERNS: Final[dict[str, Callable[[Generator, int, int], Image]]] = {
    "linear": _linear,
    "grey-ramp": _grey_ramp,
    "radial": _radial,
    "grating": _grating,
    "checkerboard": _checkerboard,
    "bars": _bars,
    "gaussian-noise": _gaussian_noise,
    "grey-noise": _grey_noise,
    "uniform-noise": _uniform_noise,
    "salt-and-pepper": _salt_and_pepper,
    "dark-frame": _dark_frame,
    "clouds": _clouds,
    "skin-coloured-clouds": _skin_coloured_clouds,
    "colour-clouds": _colour_clouds,
    "voronoi": _voronoi,
    "blurred-noise": _blurred_noise,
}
"""How each pattern is drawn at a height and a width."""
