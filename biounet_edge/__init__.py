"""Explainable melanoma assessment of dermoscopy images with Bio-U-Net, on clinic machines.

    from biounet_edge import Predictor

    with Predictor() as predictor:                          # the demo bundle; or Predictor("engines/NAME")
        prediction = predictor.predict("lesion.jpg")        # path, bytes or RGB array
        prediction.melanoma_probability
        prediction.indicators["streaks"].mask

Names are loaded when they are first used, so that `import biounet_edge` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from biounet_edge.version import __version__

if TYPE_CHECKING:
    from biounet_edge.bundle.folder import Bundle, default_bundle
    from biounet_edge.checks.verification import verify
    from biounet_edge.errors import (
        BackendUnavailableError,
        BiounetEdgeError,
        BundleNotFoundError,
        Category,
        EngineMismatchError,
        ImageError,
        InputError,
        IntegrityError,
        ManifestError,
        OutputError,
        UnfamiliarError,
        VerificationError,
    )
    from biounet_edge.indicators import INDICATORS
    from biounet_edge.prediction import IndicatorFinding, Prediction, PredictionFailure
    from biounet_edge.predictor import Predictor

__all__ = [
    "INDICATORS",
    "BackendUnavailableError",
    "BiounetEdgeError",
    "Bundle",
    "BundleNotFoundError",
    "Category",
    "EngineMismatchError",
    "ImageError",
    "IndicatorFinding",
    "InputError",
    "IntegrityError",
    "ManifestError",
    "OutputError",
    "Prediction",
    "PredictionFailure",
    "Predictor",
    "UnfamiliarError",
    "VerificationError",
    "__version__",
    "default_bundle",
    "verify",
]

_MODULES = {
    "INDICATORS": "indicators",
    "Bundle": "bundle.folder",
    "IndicatorFinding": "prediction",
    "Prediction": "prediction",
    "PredictionFailure": "prediction",
    "Predictor": "predictor",
    "default_bundle": "bundle.folder",
    "verify": "checks.verification",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
