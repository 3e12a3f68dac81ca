"""What may mislead a photograph's reader, or the model: out of focus, badly exposed, cut off, full of hair.

Measured on the pixels that the network sees, reduced to one size, so that the thresholds hold for every
bundle. They are notes for people: no probability, decision or mask depends on them. docs/quality.md says how
often each note is made of the photographs that the demo model was trained on.

Source:
    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (variance of the Laplacian)
    Lee et al., DullRazor, Computers in Biology and Medicine 27(6), 1997 (hair by closing along lines)
    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9(1), 1979 (the lesion)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 224
"""Height and width that photographs are measured at."""

LEAST_SHARPNESS = 7.5
"""Variance of the Laplacian below which a photograph is out of focus, in squared grey levels."""

MOST_WHITE = 0.05
"""Share of pixels that are clipped in all three colours, above which a photograph is overexposed."""

LEAST_BRIGHTNESS = 100
"""Level that the brightest colour of nine tenths of the pixels stays below in an underexposed photograph.
Lower than in every training photograph; of the brightest colour, since dark skin reflects red."""

MOST_HAIR = 0.3
"""Share of pixels on thin dark lines above which hair hides too much."""

MOST_CUT = 0.3
"""Share of the border's middle parts above which a lesion that touches them is cut off."""

_FRAME = 40  # grey level below which what is joined to a corner is a dermoscope's dark frame
_FRAME_EDGE_PX = 5  # which is sharp in a blurred photograph too
_WHITE = 250
_HAIR = 12  # grey levels by which a line is darker than what is beside it
_LINES = tuple(np.asarray(line, np.uint8) for line in (np.ones((1, 9)), np.ones((9, 1)), np.eye(9)))
# At half of the size. Lenses darken corners, so that these are no sign of a lesion.
_BORDER_PX, _CORNER_PX = 2, 22
_CENTRE_PX = 31  # radius in which a lesion has to be seen
_LESION = 40  # grey levels by which a lesion is darker than skin, on average
_SEPARATION = 0.65  # of lesion and skin: part of the variance that lies between the two
_SURROUNDED = 0.75  # above, the skin around is dark and not the lesion cut


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of one photograph."""

    sharpness: float
    """Variance of the Laplacian, in squared grey levels."""
    white: float
    """Share of pixels whose three colours are clipped, in [0, 1]."""
    brightness: float
    """Level that the brightest colour of nine tenths of the pixels stays below, in [0, 255]."""
    hair: float
    """Share of pixels on thin dark lines, in [0, 1]."""
    cut: float
    """Share of the middle parts of the border that the lesion touches, in [0, 1]; 0 where none stands out."""

    def notes(self) -> Iterator[str]:
        """Say what may mislead.

        Yields:
            One sentence for each measure that is beyond its threshold.
        """
        if self.sharpness < LEAST_SHARPNESS:
            yield (
                f"out of focus: it has little fine detail (variance of the Laplacian {self.sharpness:.1f}, "
                f"{LEAST_SHARPNESS:g} or more is usual)"
            )
        if self.white > MOST_WHITE:
            yield f"overexposed: {self.white:.0%} of its pixels are white, without any detail"
        if self.brightness < LEAST_BRIGHTNESS:
            yield f"underexposed: nine tenths of its pixels are darker than {self.brightness:.0f} of 255"
        if self.cut > MOST_CUT:
            yield f"cut off: the lesion touches {self.cut:.0%} of the border, so parts of it may be outside"
        if self.hair > MOST_HAIR:
            yield f"covered by hair: dark lines take {self.hair:.0%} of it"


def quality_notes(pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Say what may mislead in a photograph.

    Args:
        pixels: RGB pixels as the network sees them, shape (H, W, 3), uint8.

    Returns:
        One sentence for each problem; most photographs have none.
    """
    return tuple(measure_quality(pixels).notes())


def measure_quality(pixels: NDArray[np.uint8]) -> Quality:
    """Measure what may mislead in a photograph.

    Args:
        pixels: RGB pixels as the network sees them, shape (H, W, 3), uint8.

    Returns:
        The measures.
    """
    height, width = pixels.shape[:2]
    levels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    grey = np.asarray(cv2.resize(levels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
    inside = _inside_of_frame(grey)
    here = cv2.resize(inside, (width, height), interpolation=cv2.INTER_NEAREST)
    red, green, blue = cv2.split(pixels)
    darkest, brightest = cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S), mask=inside)
    below = cv2.calcHist([brightest], [0], here, [256], [0, 256]).ravel().cumsum()
    whites = cv2.calcHist([darkest], [0], here, [256], [0, 256]).ravel()
    return Quality(
        sharpness=float(deviation[0, 0]) ** 2,
        white=float(whites[_WHITE:].sum() / max(1.0, float(below[-1]))),
        brightness=float(np.searchsorted(below, 0.9 * below[-1])),
        hair=_hair(grey, inside) / max(1, int(np.count_nonzero(inside))),
        cut=_cut(grey, inside),
    )


def _inside_of_frame(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where the photograph is, 0 in a dermoscope's dark frame and near its edge; shape of `grey`."""
    dark = cv2.threshold(grey, _FRAME, 1, cv2.THRESH_BINARY_INV)[1]
    last = SIDE_PX - 1
    for corner in ((0, 0), (last, 0), (0, last), (last, last)):
        if dark[corner[1], corner[0]] == 1:
            cv2.floodFill(dark, None, corner, 2)
    outside = np.asarray(dark == 2).view(np.uint8)
    if not outside.any():
        return np.ones_like(grey)
    if outside.all():  # all of it is dark, and there is no frame
        return np.ones_like(grey)
    edge = np.ones((2 * _FRAME_EDGE_PX + 1, 2 * _FRAME_EDGE_PX + 1), np.uint8)
    return np.asarray(1 - cv2.dilate(outside, edge), np.uint8)


def _hair(grey: NDArray[np.uint8], inside: NDArray[np.uint8]) -> int:
    """Count pixels that closing along a line across them makes brighter."""
    lines = np.zeros_like(grey)
    for line in _LINES:
        cv2.max(lines, cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, line), dst=lines)
    return int(np.count_nonzero((lines > _HAIR) & (inside > 0)))


def _cut(grey: NDArray[np.uint8], inside: NDArray[np.uint8]) -> float:
    """Follow the dark region that is in the centre to the border, at half of the size."""
    half = (SIDE_PX // 2, SIDE_PX // 2)
    small = cv2.GaussianBlur(cv2.resize(grey, half, interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    inside = np.asarray(cv2.resize(inside, half, interpolation=cv2.INTER_NEAREST), np.uint8)
    border = _BORDER & inside
    threshold = _lesion_threshold(cv2.calcHist([small], [0], inside, [256], [0, 256]).ravel())
    if threshold is None or not border.any():
        return 0.0
    dark = np.asarray((small <= threshold) & (inside > 0)).view(np.uint8)
    count, regions = cv2.connectedComponents(dark, connectivity=4)
    sizes = np.bincount(regions[(_CENTRE & dark) > 0], minlength=count)
    if not sizes.any():
        return 0.0
    lesion = np.asarray(regions == int(sizes.argmax())).view(np.uint8)
    share = np.count_nonzero(lesion & border) / np.count_nonzero(border)
    return float(share) if share < _SURROUNDED else 0.0


def _lesion_threshold(counts: NDArray[Any]) -> int | None:
    """Return Otsu's threshold of a histogram, or None where what is darker is no lesion on skin."""
    levels = np.arange(256)
    below, darkness = counts.cumsum(), (counts * levels).cumsum()
    total, mean = float(below[-1]), float(darkness[-1]) / max(1.0, float(below[-1]))
    above = total - below
    between = np.zeros(256)
    both = (below > 0) & (above > 0)
    between[both] = total * (mean * below[both] - darkness[both]) ** 2 / (below[both] * above[both])
    best = int(between.argmax())
    if not both[best]:
        return None
    step = (float(darkness[-1]) - darkness[best]) / above[best] - darkness[best] / below[best]
    variance = float((counts * (levels - mean) ** 2).sum())
    return best if step > _LESION and between[best] > _SEPARATION * variance else None


def _border() -> NDArray[np.uint8]:
    """Return 1 near the border but for its corners, at half of the size."""
    side = SIDE_PX // 2
    border = np.zeros((side, side), np.uint8)
    middle = slice(_CORNER_PX, side - _CORNER_PX)
    border[:_BORDER_PX, middle] = border[-_BORDER_PX:, middle] = 1
    border[middle, :_BORDER_PX] = border[middle, -_BORDER_PX:] = 1
    return border


def _centre() -> NDArray[np.uint8]:
    """Return 1 in the central disc, at half of the size."""
    side = SIDE_PX // 2
    disc = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), _CENTRE_PX, 1, cv2.FILLED)
    return np.asarray(disc, np.uint8)


_BORDER, _CENTRE = _border(), _centre()
