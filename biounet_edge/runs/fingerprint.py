"""What tells one kind of run from another, so that only results of the same kind are kept."""

import hashlib
import json
from importlib import metadata

import cv2

from biounet_edge.predictor import Predictor
from biounet_edge.results.kinds import Save
from biounet_edge.version import __version__

_LIBRARIES = (
    "numpy", "pillow", "pillow-heif", "simplejpeg", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg", "pylibjpeg-rle", "highdicom",
)  # fmt: skip


def fingerprint(predictor: Predictor, save: tuple[Save, ...]) -> str:
    """Identify all that the bytes of a result depend on besides the image: software, bundle and options.

    Args:
        predictor: The loaded bundle.
        save: Kinds of image files that are written.

    Returns:
        A SHA-256 in hexadecimal.
    """
    backend = predictor.backend
    parts = {
        "version": __version__,
        "opencv": cv2.__version__,  # its distribution has several names
        "libraries": {name: _installed(name) for name in _LIBRARIES},
        "bundle": predictor.bundle.checksum,
        "level": predictor.level,
        "save": save,
        "any_modality": predictor.any_modality,
        "accept_unfamiliar": predictor.accept_unfamiliar,
        "device": backend.device,
        "library": backend.description,
        "precision": backend.precision,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
