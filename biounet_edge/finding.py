"""What the model says about one indicator in one photograph, at that photograph's own size.

Arrays are kept at the model's resolution and enlarged when they are read: five masks and five heatmaps of a
24-megapixel photograph would be 1 GB.
"""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


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
