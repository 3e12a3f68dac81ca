"""What the report shows of one photograph, small enough that a thousand of them fit into one page."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import InputError
from biounet_edge.photographs.decoding import reduce_to
from biounet_edge.prediction import IndicatorFinding, Prediction
from biounet_edge.results.overlay import COLD, COLOURS, HEAT

PICTURE_PX = 640
"""Largest side of a photograph in the report."""

_HEATMAP_PX = 64  # a heatmap has a few cells a side; the browser enlarges it as smoothly as OpenCV
_OUTLINE_TOLERANCE_PX = 0.8
_JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Entry:
    """The numbers and pictures of one photograph. Nothing in it refers to arrays or open files."""

    row: dict[str, Any]
    """The numbers as predictions.jsonl has them: `Prediction.to_dict`."""
    photograph: bytes
    """JPEG file, upright, longer side at most PICTURE_PX."""
    canvas: tuple[int, int]
    """(height, width) of the coordinates of `masks`: a whole multiple of the photograph's."""
    masks: dict[str, str]
    """SVG path of each mask that is not empty, in pixels of `canvas`; none below level full."""
    heatmaps: dict[str, bytes]
    """PNG file of each present indicator's heatmap, transparent where it is cold; none below level cam."""


def make_entry(prediction: Prediction) -> Entry:
    """Reduce a prediction to what the report shows of it.

    As in an overlay, only indicators that are present are drawn: a heatmap is divided by its own maximum and
    has a hot spot for an absent indicator too.

    Args:
        prediction: Numbers, heatmaps, masks and the reduced photograph.

    Returns:
        The entry.

    Raises:
        InputError: If the prediction does not carry its photograph.
    """
    if prediction.preview is None:
        raise InputError(
            f"a report needs the photographs: predict with preview_px of {PICTURE_PX}, or another above 0"
        )
    picture = reduce_to(prediction.preview, PICTURE_PX)
    height, width = picture.shape[:2]
    factor = max(1, PICTURE_PX // max(height, width))  # outlines of tiny photographs would be staircases
    canvas = height * factor, width * factor
    present = {name: finding for name, finding in prediction.indicators.items() if finding.present}
    masks = {name: _outline(finding, canvas) for name, finding in present.items()}
    heatmaps = {name: _heatmap_png(finding, COLOURS[name], canvas) for name, finding in present.items()}
    return Entry(
        row=prediction.to_dict(),
        photograph=_encode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]),
        canvas=canvas,
        masks={name: path for name, path in masks.items() if path},
        heatmaps={name: content for name, content in heatmaps.items() if content},
    )


def data_url(kind: str, content: bytes) -> str:
    """Write a file as an address that holds it.

    Args:
        kind: Media type, such as "image/png".
        content: The file.

    Returns:
        A data URL.
    """
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _outline(finding: IndicatorFinding, canvas: tuple[int, int]) -> str:
    """Follow the borders of a mask and of its holes; a path stays sharp however far it is enlarged."""
    mask = finding.mask_at(canvas)
    if mask is None or not mask.any():
        return ""
    borders, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return "".join(_path(cv2.approxPolyDP(border, _OUTLINE_TOLERANCE_PX, True)[:, 0]) for border in borders)


def _path(corners: NDArray[np.integer[Any] | np.floating[Any]]) -> str:
    """Write a closed polygon, shape (n, 2), as an absolute start and relative steps."""
    steps = " ".join(str(value) for value in np.diff(corners, axis=0).ravel().tolist())
    return f"M{corners[0, 0]} {corners[0, 1]}l{steps or '0 0'}z".replace(" -", "-")


def _heatmap_png(finding: IndicatorFinding, colour: tuple[int, int, int], canvas: tuple[int, int]) -> bytes:
    longer = max(canvas)
    height, width = (max(1, round(side * _HEATMAP_PX / longer)) for side in canvas)
    heatmap = finding.heatmap_at((height, width))
    if heatmap is None or not (heatmap > COLD).any():
        return b""
    image = np.empty((height, width, 4), np.uint8)
    image[..., :3] = colour[::-1]
    image[..., 3] = np.maximum((heatmap - COLD) * (255 * HEAT / (1 - COLD)), 0) + 0.5
    # A quarter of the time of OpenCV's default, which tries every filter on every row.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    return _encode(".png", image, options)


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    _, content = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    return content.tobytes()
