"""What comes of one photograph: what the model says about it, or why it says nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import FAMILIARITY, Level, Manifest
from biounet_edge.errors import Category

Status = Literal["ok", "error", "unfamiliar"]
"""Whether a photograph was assessed; "unfamiliar" is one that is unlike those of the training."""

WARNING = "unlike the photographs that the model was trained on: do not rely on any number"
"""Stands beside the numbers of an unfamiliar photograph, where they were asked for all the same."""


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
    familiarity: float | None = None
    """How much the photograph is like those of the training, in the bundle's own measure: higher is more like
    them; None where the bundle cannot judge."""
    unfamiliar: bool = False
    """Whether it is less than the bundle's threshold, and numbers were asked for all the same."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the photograph, such as that it is out of focus or its file has further
    pages; it changes no number."""

    @property
    def status(self) -> Status:
        """Whether the photograph is one that the model can assess."""
        return "unfamiliar" if self.unfamiliar else "ok"

    @property
    def category(self) -> Category | None:
        """`Category.UNFAMILIAR`, or None."""
        return Category.UNFAMILIAR if self.unfamiliar else None

    @property
    def warning(self) -> str | None:
        """What has to stand beside each number; None where the photograph is like those of the training."""
        return WARNING if self.unfamiliar else None

    def to_dict(self) -> dict[str, Any]:
        """Make the numbers ready for JSON.

        Returns:
            Every number; no arrays.
        """
        return {
            "image": self.source,
            "sha256": self.sha256,
            "status": self.status,
            "category": self.category,
            "width": self.size[1],
            "height": self.size[0],
            "level": self.level,
            "familiarity": self.familiarity,
            "warning": self.warning,
            "melanoma_probability": self.melanoma_probability,
            "melanoma": self.melanoma,
            "melanoma_bias": self.melanoma_bias,
            "melanoma_temperature": self.melanoma_temperature,
            "indicators": {name: finding.to_dict() for name, finding in self.indicators.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class PredictionFailure:
    """A photograph without a prediction, and why; the stream goes on after it."""

    source: str
    """Path of the photograph as it was given."""
    error: str
    """The reason, one sentence."""
    sha256: str | None = None
    """SHA-256 of the content that is the reason, of a large file that is no image that of its size and first
    bytes; None where the file itself could not be read."""
    category: Category = Category.REFUSED
    """The kind of reason."""
    familiarity: float | None = None
    """The score that is too low, where the photograph is unfamiliar; else None."""

    @property
    def status(self) -> Status:
        """Whether it is an error that there is no prediction."""
        return "unfamiliar" if self.category is Category.UNFAMILIAR else "error"

    def to_dict(self) -> dict[str, Any]:
        """Make the reason ready for JSON.

        Returns:
            Path, checksum, status, category, reason and familiarity.
        """
        return {
            "image": self.source,
            "sha256": self.sha256,
            "status": self.status,
            "category": self.category,
            "error": self.error,
            "familiarity": self.familiarity,
        }


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
    """Apply a bundle's operating points to the graph's outputs for one image, a familiar one or not.

    Args:
        manifest: The bundle's manifest.
        level: Level of the graph.
        outputs: The graph's outputs without their batch axis.
        source: Path of the photograph.
        size: (H0, W0): height and width of the photograph in pixels.
        preview: The reduced photograph, or None.
        sha256: SHA-256 of the image file's content, or None.
        notes: What a reader should know of the photograph.

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
        familiarity=familiarity_of(outputs),
        unfamiliar=is_unfamiliar(manifest, outputs),
        notes=notes,
    )


def is_unfamiliar(manifest: Manifest, outputs: Mapping[str, NDArray[np.float32]]) -> bool:
    """Return whether a photograph does not look like those that a model was trained on.

    Args:
        manifest: The bundle's manifest.
        outputs: The graph's outputs without their batch axis.

    Returns:
        False where the bundle cannot judge.
    """
    spec, score = manifest.familiarity, familiarity_of(outputs)
    return spec is not None and (score is None or score < spec.threshold)


def not_assessed(
    manifest: Manifest, outputs: Mapping[str, NDArray[np.float32]], source: str, sha256: str | None
) -> PredictionFailure:
    """Say why a photograph that is unlike those of the training is not assessed.

    Args:
        manifest: The bundle's manifest, with a threshold.
        outputs: The graph's outputs without their batch axis.
        source: Path of the photograph.
        sha256: SHA-256 of the image file's content, or None.

    Returns:
        What stands in place of a prediction.
    """
    assert manifest.familiarity is not None, "only a bundle that can judge finds a photograph unfamiliar"
    score, threshold = familiarity_of(outputs), manifest.familiarity.threshold
    found = "is no number" if score is None else f"{score:.4g}"
    reason = (
        "not assessed: it does not look like the photographs that the model was trained on (familiarity "
        f"{found}, expected {threshold:.4g} or more)"
    )
    return PredictionFailure(source, reason, sha256, Category.UNFAMILIAR, score)


def familiarity_of(outputs: Mapping[str, NDArray[np.float32]]) -> float | None:
    """Read how much a photograph is like those that a model was trained on.

    Args:
        outputs: The graph's outputs without their batch axis.

    Returns:
        The score; None where the graph has none, or it is no finite number.
    """
    score = float(outputs[FAMILIARITY]) if FAMILIARITY in outputs else math.nan
    return score if math.isfinite(score) else None


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
