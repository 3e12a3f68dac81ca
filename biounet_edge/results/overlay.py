"""A photograph with the findings drawn on it, for people to look at."""

import textwrap

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.indicators import indicator_label
from biounet_edge.prediction import IndicatorFinding, Prediction

HEAT = 0.6
"""Opacity of a heatmap's maximum, in [0, 1]."""

COLD = 0.4
"""Heat below this part of the maximum is left out, or five heatmaps would cover the photograph."""

OVERLAY_PX = 1600
"""Largest side of an overlay's photograph: more is slow to write and no clearer on a screen."""

_SMALLEST_PX = 800  # smaller photographs are enlarged, or outlines and text would cover them
_LEGEND_WIDTH_PX = 520
_TINT = 0.1
_OUTLINE_TOLERANCE_PX = 1
_BACKGROUND, _TEXT, _FAINT, _CAUTION = (24, 25, 30), (240, 240, 240), (140, 142, 150), (255, 190, 60)

COLOURS: dict[str, tuple[int, int, int]] = {
    "pigment_network": (0, 208, 255),
    "negative_network": (122, 120, 255),
    "streaks": (255, 64, 196),
    "milia_like_cyst": (255, 224, 32),
    "globules": (70, 255, 96),
}
"""One RGB colour per indicator: bright, far from skin and from each other."""


def draw_overlay(
    prediction: Prediction, photograph: NDArray[np.uint8], notice: str | None = None
) -> NDArray[np.uint8]:
    """Draw a prediction's masks, or at level cam its heatmaps, and a legend beneath the photograph.

    Only indicators that are present are drawn: a heatmap is divided by its own maximum and has a hot spot for
    an absent indicator too. The legend lists an indicator without an operating point as "probability only".
    Of an unfamiliar photograph each number has a question mark, and a line says why.

    Args:
        prediction: What to draw.
        photograph: The photograph, upright, of any size, shape (H0, W0, 3), uint8 RGB.
        notice: The bundle's notice, written below the legend, since a picture may travel alone.

    Returns:
        RGB pixels, uint8: the photograph with its longer side between 800 and 1600 pixels, above the legend.
    """
    canvas = _to_canvas(photograph)
    present = {name: finding for name, finding in prediction.indicators.items() if finding.present}
    if prediction.level == "full":
        canvas = _draw_masks(canvas, present)
    elif prediction.level == "cam":
        canvas = _blend_heatmaps(canvas, present)
    legend = _draw_legend(prediction, notice, max(canvas.shape[1], _LEGEND_WIDTH_PX), canvas.shape[0])
    height, width = canvas.shape[:2]
    overlay = _filled((height + legend.shape[0], legend.shape[1]), _BACKGROUND)
    left = (overlay.shape[1] - width) // 2
    overlay[:height, left : left + width] = canvas
    overlay[height:] = legend
    return overlay


def _to_canvas(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = photograph.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, _SMALLEST_PX), OVERLAY_PX) / longer
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(photograph, size, interpolation=interpolation), dtype=np.uint8)


def _draw_masks(canvas: NDArray[np.uint8], present: dict[str, IndicatorFinding]) -> NDArray[np.uint8]:
    size = (canvas.shape[0], canvas.shape[1])
    masks = {name: finding.mask_at(size) for name, finding in present.items()}
    drawn = {name: mask.view(np.uint8) for name, mask in masks.items() if mask is not None and mask.any()}
    for name, mask in drawn.items():
        where = _bounds(mask)
        colour = _filled(mask[where].shape, COLOURS[name])
        tinted = cv2.addWeighted(canvas[where], 1 - _TINT, colour, _TINT, 0)
        cv2.copyTo(tinted, mask[where], canvas[where])
    thickness = max(2, round(max(size) / 400))
    for name, mask in drawn.items():
        # RETR_LIST finds the borders of holes too: a network's mesh is part of what it looks like.
        borders, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        # The pixels' staircase makes four times as many lines to draw as the border needs.
        outlines = [cv2.approxPolyDP(border, _OUTLINE_TOLERANCE_PX, True) for border in borders]
        cv2.drawContours(canvas, outlines, -1, _BACKGROUND, thickness + 2, cv2.LINE_AA)
        cv2.drawContours(canvas, outlines, -1, COLOURS[name], thickness, cv2.LINE_AA)
    return canvas


def _blend_heatmaps(canvas: NDArray[np.uint8], present: dict[str, IndicatorFinding]) -> NDArray[np.uint8]:
    size = (canvas.shape[0], canvas.shape[1])
    for name, finding in present.items():
        heatmap = finding.heatmap_at(size)
        if heatmap is not None and (heatmap > COLD).any():
            where = _bounds((heatmap > COLD).view(np.uint8))
            photograph, heat = np.ascontiguousarray(canvas[where]), heatmap[where]
            weight = np.maximum((heat - COLD) * (HEAT / (1 - COLD)), 0)
            colour = _filled(heat.shape, COLOURS[name])
            canvas[where] = cv2.blendLinear(photograph, colour, 1 - weight, weight)
    return canvas


def _bounds(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Find the rows and columns that hold all of a mask, to work on these only."""
    x, y, width, height = cv2.boundingRect(mask)
    return slice(y, y + height), slice(x, x + width)


def _filled(size: tuple[int, ...], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Make an image of one colour, shape (*size, 3), in a fiftieth of the time that np.full takes."""
    image = np.empty((*size, 3), np.uint8)
    cv2.rectangle(image, (0, 0), (size[1], size[0]), colour, cv2.FILLED)
    return image


def _draw_legend(prediction: Prediction, notice: str | None, width: int, height: int) -> NDArray[np.uint8]:
    text_px = max(17, min(max(width, height) // 56, width // 26))
    line, edge = round(text_px * 1.75), text_px
    undecided = any(finding.present is None for finding in prediction.indicators.values())
    columns = max(1, (width - edge) // round(text_px * (22 if undecided else 17)))  # its text is longer
    rows = -(-len(prediction.indicators) // columns)
    characters = round((width - 2 * edge) / (0.5 * text_px))
    cautions = textwrap.wrap(f"Unfamiliar: {prediction.warning}" if prediction.warning else "", characters)
    notices = textwrap.wrap(notice or "", characters)
    legend = _filled((line * (1 + len(cautions) + rows + len(notices)) + edge, width), _BACKGROUND)
    verdict, mark = "at or above" if prediction.melanoma else "below", "?" if prediction.unfamiliar else ""
    headline = f"Melanoma {prediction.melanoma_probability:.0%}{mark}, {verdict} the operating point"
    for i, text in enumerate(cautions):
        _write(legend, text, (edge, line * (1 + i)), text_px, _CAUTION, 600)
    _write(legend, headline, (edge, line * (1 + len(cautions))), text_px, _TEXT, 600)
    for i, (name, finding) in enumerate(prediction.indicators.items()):
        x = edge + (i % columns) * ((width - edge) // columns)
        y = line * (2 + len(cautions) + i // columns)
        top, side = y - round(text_px * 0.8), round(text_px * 0.9)
        colour = COLOURS[name] if finding.present else _FAINT
        border = cv2.FILLED if finding.present else max(1, text_px // 12)
        cv2.rectangle(legend, (x, top), (x + side, top + side), colour, border)
        colour = _FAINT if finding.present is False else _TEXT
        _write(legend, _describe(name, finding, mark), (x + round(1.5 * side), y), text_px, colour, 400)
    for i, text in enumerate(notices):
        _write(legend, text, (edge, line * (2 + len(cautions) + rows + i)), text_px, _FAINT, 400)
    return legend


def _describe(name: str, finding: IndicatorFinding, mark: str) -> str:
    label = f"{indicator_label(name).capitalize()} {finding.probability:.0%}{mark}"
    if finding.present is None:
        return f"{label}, probability only"
    if not finding.present:
        return f"{label}, absent"
    return label if finding.area_pct is None else f"{label}, area {finding.area_pct:.1f}%"


def _write(
    image: NDArray[np.uint8],
    text: str,
    origin: tuple[int, int],
    size_px: int,
    colour: tuple[int, int, int],
    weight: int,
) -> None:
    cv2.putText(image, text, origin, colour, cv2.FontFace("sans"), size_px, weight)
