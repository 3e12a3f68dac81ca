"""The image files that one prediction is written to."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from biounet_edge.prediction import IndicatorFinding, Prediction
from biounet_edge.results.kinds import DICOM_KINDS, Save
from biounet_edge.results.overlay import draw_overlay
from biounet_edge.storage import write_result


def write_image_files(
    output: Path, stem: str, prediction: Prediction, save: tuple[Save, ...], notice: str | None
) -> list[str]:
    """Write the masks, overlay, heatmaps and probabilities of one prediction.

    An absent indicator has an empty mask; one without an operating point has no mask. Heatmaps and mask
    probabilities are written for every indicator.

    Args:
        output: Output folder.
        stem: Name of the results, relative to each kind's folder, without an extension.
        prediction: What to write; overlays need its `preview`.
        save: Kinds to write.
        notice: The bundle's notice, for the overlay.

    Returns:
        The files' paths relative to the output folder, with "/".

    Raises:
        OutputError: If one cannot be written.
    """
    names = []
    for name, content in _encode_all(stem, prediction, save, notice):
        write_result(output, name, content)
        names.append(PurePosixPath(name).as_posix())
    return names


def result_names(stem: str) -> Iterator[str]:
    """List every file that a run may write about one photograph, besides tables and report.

    Args:
        stem: Name of the results, relative to each kind's folder, without an extension.

    Yields:
        Paths relative to the output folder.
    """
    yield f"overlays/{stem}.jpg"
    for name in INDICATORS:
        yield f"masks/{stem}_attribute_{name}.png"
        yield f"heatmaps/{stem}_{name}.png"
        yield f"probabilities/{stem}_{name}.png"
    for kind in DICOM_KINDS:
        yield f"{kind}/{stem}.dcm"


def _encode_all(
    stem: str, prediction: Prediction, save: tuple[Save, ...], notice: str | None
) -> Iterator[tuple[str, bytes]]:
    """Yield (path below the output folder, content) one by one, to hold one full-size array at a time."""
    for name, finding in prediction.indicators.items():
        if "masks" in save and finding.model_mask_probability is not None and finding.present is not None:
            yield f"masks/{stem}_attribute_{name}.png", _mask_png(finding)
        if "heatmaps" in save and (heatmap := finding.heatmap) is not None:
            yield f"heatmaps/{stem}_{name}.png", _png(_to_grey(heatmap), cv2.IMWRITE_PNG_FILTER_UP)
        if "probabilities" in save and (probability := finding.mask_probability) is not None:
            yield f"probabilities/{stem}_{name}.png", _png(_to_grey(probability), cv2.IMWRITE_PNG_FILTER_UP)
    if "overlays" in save:
        if prediction.preview is None:
            raise InputError("an overlay needs the photograph: predict with preview_px above 0")
        overlay = draw_overlay(prediction, prediction.preview, notice)
        cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR, dst=overlay)
        yield f"overlays/{stem}.jpg", _encode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _to_grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (values * 255 + 0.5).astype(np.uint8)  # 0..255 for 0..1


def _mask_png(finding: IndicatorFinding) -> bytes:
    if not finding.present:
        return _empty_png(finding.source_size)
    mask = finding.mask
    assert mask is not None
    return _png(mask.view(np.uint8) * 255, cv2.IMWRITE_PNG_FILTER_NONE)  # 0 or 255


@lru_cache(maxsize=8)  # a camera's photographs have one size, and most masks are empty
def _empty_png(size: tuple[int, int]) -> bytes:
    return _png(np.zeros(size, np.uint8), cv2.IMWRITE_PNG_FILTER_NONE)


def _png(image: NDArray[np.uint8], row_filter: int) -> bytes:
    # 8 bits also for masks: some readers take a 1-bit image for 0 and 1. By default OpenCV tries five filters
    # on each row and then looks for repetitions, of which masks and smooth heatmaps have none but runs.
    options = [
        cv2.IMWRITE_PNG_COMPRESSION, 1,
        cv2.IMWRITE_PNG_FILTER, row_filter,
        cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    ]  # fmt: skip
    return _encode(".png", image, options)


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    _, content = cv2.imencode(suffix, image, options)
    return content.tobytes()
