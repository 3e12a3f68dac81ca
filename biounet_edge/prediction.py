"""What the model says about one photograph, at that photograph's own size.

Arrays are kept at the model's resolution and enlarged when they are read: five masks and five heatmaps of a
24-megapixel photograph would be 1 GB.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import Level, Manifest


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorFinding:
    """One indicator in one photograph."""

    probability: float
    """Probability that the indicator is there, in [0, 1]."""
    present: bool | None
    """Whether the probability reaches the indicator's operating point; None where the bundle has none: only
    the probability is reported."""
    contribution: float
    """Log-odds that this indicator's encoder adds: positive speaks for melanoma, negative against it."""
    area_pct: float | None
    """Part of the photograph that the mask covers, in percent, in [0, 100]; None below level full, and where
    `present` is None."""
    heatmap_scale: float | None
    """Maximum of the raw Grad-CAM before it was divided by it; None below level cam."""
    source_size: tuple[int, int]
    """(H0, W0): height and width of the photograph in pixels."""
    model_heatmap: NDArray[np.float32] | None = field(repr=False)
    """Heatmap at the model's resolution, shape (h, w), float32 in [0, 1]; None below level cam."""
    model_mask_probability: NDArray[np.float32] | None = field(repr=False)
    """Mask probability at the model's resolution, shape (H, W), float32 in [0, 1]; None below level full."""
    mask_threshold: float = field(repr=False)
    """Operating point of the mask, on the mask probability."""

    @property
    def heatmap(self) -> NDArray[np.float32] | None:
        """Where the encoder looked, shape (H0, W0), float32 in [0, 1]; None below level cam.

        Divided by its own maximum, so it has a hot spot in any photograph: read it with `present` and
        `heatmap_scale`.
        """
        return None if self.model_heatmap is None else _to_size(self.model_heatmap, self.source_size)

    @property
    def mask_probability(self) -> NDArray[np.float32] | None:
        """Probability per pixel, shape (H0, W0), float32 in [0, 1]; None below level full."""
        if self.model_mask_probability is None:
            return None
        return _to_size(self.model_mask_probability, self.source_size)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Where the indicator is, shape (H0, W0), bool; all False if it is absent.

        None below level full, and where `present` is None.
        """
        return self.mask_at(self.source_size)

    def mask_at(self, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Make the mask at another size than the photograph's.

        Args:
            size: (height, width) in pixels.

        Returns:
            Mask of that shape, bool, all False where the indicator is absent; None below level full, and
            where `present` is None.
        """
        if self.model_mask_probability is None or self.present is None:
            return None
        if not self.present:
            return np.zeros(size, np.bool_)
        return _stretch(self.model_mask_probability, size) >= self.mask_threshold

    def heatmap_at(self, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Make the heatmap at another size than the photograph's.

        Args:
            size: (height, width) in pixels.

        Returns:
            Heatmap of that shape, float32 in [0, 1]; None below level cam.
        """
        return None if self.model_heatmap is None else _to_size(self.model_heatmap, size)

    def to_dict(self) -> dict[str, Any]:
        """Make the numbers ready for JSON.

        Returns:
            Every number; no arrays.
        """
        names = ("probability", "present", "contribution", "area_pct", "heatmap_scale")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says about one photograph."""

    source: str
    """Path of the photograph as it was given; "<bytes>" or "<array>" where there is none."""
    size: tuple[int, int]
    """(H0, W0): height and width of the upright photograph in pixels."""
    level: Level
    """How much was computed."""
    melanoma_probability: float
    """Calibrated probability of melanoma, in [0, 1]."""
    melanoma: bool
    """Whether that probability reaches the operating point."""
    melanoma_bias: float
    """Log-odds that are there without any indicator; with all contributions they sum to the logit."""
    melanoma_temperature: float
    """melanoma_probability = sigmoid(logit / melanoma_temperature)."""
    indicators: Mapping[str, IndicatorFinding]
    """One finding per indicator, in the order of `INDICATORS`."""
    preview: NDArray[np.uint8] | None = field(default=None, repr=False)
    """The photograph, reduced, RGB, where it was asked for; else None."""
    sha256: str | None = None
    """SHA-256 of the image file's content, in hexadecimal, for a frame with "#" and its number after that
    content; None where pixels were given."""
    notes: tuple[str, ...] = ()
    """What to know of the file, such as that it has further pages; usually empty."""

    def to_dict(self) -> dict[str, Any]:
        """Make the numbers ready for JSON.

        Returns:
            Every number; no arrays.
        """
        return {
            "image": self.source,
            "sha256": self.sha256,
            "status": "ok",
            "width": self.size[1],
            "height": self.size[0],
            "notes": list(self.notes),
            "level": self.level,
            "melanoma_probability": self.melanoma_probability,
            "melanoma": self.melanoma,
            "melanoma_bias": self.melanoma_bias,
            "melanoma_temperature": self.melanoma_temperature,
            "indicators": {name: finding.to_dict() for name, finding in self.indicators.items()},
        }


@dataclass(frozen=True, slots=True)
class PredictionFailure:
    """A photograph that could not be read; the stream goes on after it."""

    source: str
    """Path of the photograph as it was given."""
    error: str
    """The reason, one sentence."""
    sha256: str | None = None
    """SHA-256 of the content that is the reason, of a large file that is no image that of its size and first
    bytes; None where the file itself could not be read."""

    def to_dict(self) -> dict[str, Any]:
        """Make the failure ready for JSON.

        Returns:
            Path, checksum, status and reason.
        """
        return {"image": self.source, "sha256": self.sha256, "status": "error", "error": self.error}


Outcome = Prediction | PredictionFailure
"""What comes of a photograph."""


def make_prediction(
    manifest: Manifest,
    level: Level,
    outputs: Mapping[str, NDArray[np.float32]],
    source: str,
    size: tuple[int, int],
    preview: NDArray[np.uint8] | None = None,
    sha256: str | None = None,
    notes: tuple[str, ...] = (),
) -> Prediction:
    """Apply a bundle's operating points to the graph's outputs for one image.

    Args:
        manifest: The bundle's manifest.
        level: Level of the graph.
        outputs: The graph's outputs without their batch axis.
        source: Path of the photograph.
        size: (H0, W0): height and width of the photograph in pixels.
        preview: The reduced photograph, or None.
        sha256: SHA-256 of the image file's content, or None.
        notes: What to know of the file.

    Returns:
        The prediction.
    """
    heatmaps, masks = outputs.get("heatmap"), outputs.get("mask_probability")  # (J, h, w), (J, H, W)
    findings: dict[str, IndicatorFinding] = {}
    for j, name in enumerate(manifest.indicators):
        point = manifest.operating_points[name]
        probability = float(outputs["indicator_probability"][j])
        present = None if point.presence is None else probability >= point.presence
        area_pct = None
        if masks is not None and present is not None:
            area_pct = 100 * float((masks[j] >= point.mask).mean()) if present else 0.0
        findings[name] = IndicatorFinding(
            probability=probability,
            present=present,
            contribution=float(outputs["melanoma_contribution"][j]),
            area_pct=area_pct,
            heatmap_scale=float(outputs["heatmap_scale"][j]) if "heatmap_scale" in outputs else None,
            source_size=size,
            model_heatmap=None if heatmaps is None else heatmaps[j],
            model_mask_probability=None if masks is None else masks[j],
            mask_threshold=point.mask,
        )
    melanoma_probability = float(outputs["melanoma_probability"])
    return Prediction(
        source=source,
        size=size,
        level=level,
        melanoma_probability=melanoma_probability,
        melanoma=melanoma_probability >= manifest.melanoma.threshold,
        melanoma_bias=manifest.melanoma.bias,
        melanoma_temperature=manifest.melanoma.temperature,
        indicators=findings,
        preview=preview,
        sha256=sha256,
        notes=notes,
    )


def _to_size(array: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    stretched = _stretch(array, size)
    return stretched.clip(0, 1, out=stretched)  # rounding may leave the range by a bit


def _stretch(array: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Undo the stretch of `resize_to_input`: pixel centres fall where they were."""
    height, width = size
    shrinks = height < array.shape[0] and width < array.shape[1]
    resized = cv2.resize(
        array.astype(np.float32, copy=False),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    return np.asarray(resized, dtype=np.float32)
