"""The image files that one prediction is written to."""

import os
import re
import secrets
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import Level
from biounet_edge.errors import InputError, OutputError
from biounet_edge.prediction import IndicatorFinding, Prediction
from biounet_edge.results.overlay import draw_overlay

Save = Literal[
    "masks", "overlays", "heatmaps", "probabilities", "report",
    "dicom-seg", "dicom-sr", "dicom-sc", "dicom-pm",
]  # fmt: skip
"""Kinds of files beside the tables. `biounet_edge.results.html` writes the report, one for a whole run."""

DICOM_KINDS: tuple[Save, ...] = ("dicom-seg", "dicom-sr", "dicom-sc", "dicom-pm")
"""Kinds that are written for DICOM sources only."""

_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}")  # see temporary_beside

_DEFAULTS: dict[Level, tuple[Save, ...]] = {
    "classify": (),
    "cam": ("overlays",),
    "full": ("masks", "overlays"),
}
_AVAILABLE: dict[Level, tuple[Save, ...]] = {
    "classify": ("report", "dicom-sr"),
    "cam": ("overlays", "heatmaps", "report", "dicom-sr", "dicom-sc", "dicom-pm"),
    "full": get_args(Save),
}


def parse_save(text: str | None, level: Level) -> tuple[Save, ...]:
    """Reads the list of file kinds to write.

    Args:
        text: Kinds with commas between them, "none", or None for what suits the level.
        level: How much is computed.

    Returns:
        The kinds, each once, in their usual order.

    Raises:
        InputError: If a kind does not exist, or the level does not compute it.
    """
    if text is None:
        return _DEFAULTS[level]
    names = {name.strip() for name in text.split(",")} - {"", "none"}
    if unknown := sorted(names - set(get_args(Save))):
        raise InputError(
            f"{', '.join(unknown)} cannot be saved: choose from {', '.join(get_args(Save))}, none"
        )
    if missing := sorted(names - set(_AVAILABLE[level])):
        raise InputError(
            f"level {level} computes no {', '.join(missing)}: choose a higher level or save less"
        )
    return tuple(kind for kind in get_args(Save) if kind in names)


def write_image_files(
    output: Path, stem: str, prediction: Prediction, save: tuple[Save, ...], notice: str | None
) -> list[str]:
    """Write the masks, overlay, heatmaps and probabilities of one prediction.

    An absent indicator has an empty mask; one without an operating point has no mask. Heatmaps and mask
    probabilities are written for every indicator.

    Args:
        output: Output folder.
        stem: Name of the results, relative to each kind's folder, without an ending.
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


def write_result(output: Path, name: str, content: bytes) -> None:
    """Writes a file of a run, below its output folder and nowhere else.

    Args:
        output: Output folder, which has to be there.
        name: Path relative to it.
        content: The file's bytes.

    Raises:
        OutputError: If it cannot be written, or a link leads out of the output folder.
    """
    _make_folder_of(output / name, output)
    _replace(output / name, content)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens meanwhile.

    Args:
        path: The file; its folder is made where it is missing.
        content: Its bytes.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    """Writes a file in a folder that is there."""
    temporary = temporary_beside(path)
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise output_error(path, error) from error


def _make_folder_of(path: Path, output: Path) -> None:
    """Makes a file's folder below the output folder, and neither that one anew nor any beside it."""
    folder = path.parent
    try:
        if not folder.is_dir():
            for level in reversed(path.relative_to(output).parents[:-1]):  # the output folder may be gone
                (output / level).mkdir(exist_ok=True)
        inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(output))
    except OSError as error:
        raise output_error(path, error) from error
    if not inside:
        raise OutputError(
            f"{folder} leads out of the output folder {output}: remove that link, or choose another folder "
            "with --output"
        )


def remove_leftovers(output: Path) -> None:
    """Removes the temporary files that a killed run left behind. No other run may be writing there.

    Args:
        output: Output folder.

    Raises:
        OSError: If one cannot be removed.
    """
    kinds = (output / kind for kind in get_args(Save))
    for folder in (output, *(kind for kind in kinds if not kind.is_symlink())):
        for path, folders, names in os.walk(folder):
            if path == str(output):
                folders.clear()  # images may lie there too
            for name in filter(_TEMPORARY.fullmatch, names):
                os.unlink(os.path.join(path, name))


def temporary_beside(path: Path) -> Path:
    """Names a hidden file in the same folder, so that renaming it to `path` is one step of the file system.

    Args:
        path: The file that is to appear.

    Returns:
        A path that no other writer uses.
    """
    return path.parent / f".tmp-{secrets.token_hex(8)}"


def output_error(path: Path, error: OSError) -> OutputError:
    """Says which result could not be written, and why.

    Args:
        path: The file.
        error: What the system reported.

    Returns:
        The error to raise.
    """
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}): "
        "check the free space and the permissions of the output folder, or choose another with --output"
    )


def _encode_all(
    stem: str, prediction: Prediction, save: tuple[Save, ...], notice: str | None
) -> Iterator[tuple[str, bytes]]:
    """Yields (path below the output folder, content) one by one, to hold one full-size array at a time."""
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
    # 8 bits also for masks: some readers take a 1-bit image for 0 and 1. By itself OpenCV tries five filters
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
