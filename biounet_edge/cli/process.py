"""How the process is set up that reads photographs, and the predictor that it loads."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from biounet_edge.bundle.manifest import CANNOT_JUDGE, Level, Precision
from biounet_edge.cli.console import say
from biounet_edge.photographs.tiff_samples import silence_libtiff
from biounet_edge.predictor import Predictor


def silence_decoders() -> None:
    """Keep decoders from writing to stderr: what they report is in the reason of the failed image."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    silence_libtiff()
    warnings.filterwarnings(
        "ignore", module=r"pydicom|highdicom|pylibjpeg|biounet_edge\.(photographs|results)\.dicom"
    )
    for name in ("pydicom", "highdicom", "openjpeg", "libjpeg"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


def share_cores() -> None:
    """Set the process up for many photographs at once, each on one thread from its decoding to its files.

    OpenCV's own threads would take the cores from the others. And glibc returns large freed blocks to the
    system at once, so the kernel clears a thousand new pages for each photograph's arrays; freeing one block
    of just under its limit of 32 MiB makes it keep what it will need again (mallopt(3), M_MMAP_THRESHOLD). No
    page of that block is ever touched.
    """
    cv2.setNumThreads(1)
    np.empty(31 << 20, np.uint8)


@contextmanager
def loaded(
    bundle: Path | None,
    device: str,
    precision: Precision | Literal["auto"],
    level: Level,
    *,
    any_modality: bool = False,
    accept_unfamiliar: bool = False,
) -> Iterator[Predictor]:
    """Load a predictor, and say what it computes on and what its model must not be used for.

    Args:
        bundle: As for `Predictor`.
        device: As for `Predictor`.
        precision: As for `Predictor`.
        level: As for `Predictor`.
        any_modality: As for `Predictor`.
        accept_unfamiliar: As for `Predictor`.

    Yields:
        The predictor, which is closed when the block ends.
    """
    with Predictor(
        bundle,
        device=device,
        precision=precision,
        level=level,
        any_modality=any_modality,
        accept_unfamiliar=accept_unfamiliar,
    ) as predictor:
        say(f"computing on {predictor.selection}", style="dim")
        if predictor.bundle.manifest.notice:
            say(predictor.bundle.manifest.notice, style="yellow")
        if predictor.bundle.manifest.familiarity is None:
            say(CANNOT_JUDGE, style="yellow")
        yield predictor
