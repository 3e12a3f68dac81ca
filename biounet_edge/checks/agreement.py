"""How far two computations of one model agree, and how far they must.

In float32 every number can be compared with every number (golden.py). In a shorter format single
numbers differ more, and what counts is what a person sees: the decisions, the probabilities, where a heatmap
points and which pixels a mask has. This is measured here, over photographs, for any level.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import FAMILIARITY, Manifest, Precision

Outputs = Mapping[str, NDArray[np.float32]]
"""Outputs of a level's graph by name, first axis N."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Middle and worst of one figure over images."""

    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """One computation compared with another over images."""

    images: int
    """Number of images compared."""
    melanoma_flips: int
    """Images on which only one of the two reports melanoma."""
    presence_flips: int
    """Indicators, over all images, that only one of the two reports as present; an indicator without an
    operating point has no decision that could flip."""
    probability_difference: float
    """Largest absolute difference of a melanoma or indicator probability."""
    contribution_difference: float
    """Largest absolute difference of a contribution, in log-odds."""
    lost_heatmaps: int
    """Heatmaps that are all zero in this computation and not in the other, faint ones (`FAINT`) left out."""
    faint_heatmaps: int
    """Heatmaps that are not compared, because they are faint in the other computation."""
    unfamiliar_flips: int = 0
    """Images that only one of the two finds unfamiliar; 0 where the bundle cannot judge."""
    heatmap_correlation: dict[str, Spread] = field(default_factory=dict)
    """Pearson's correlation of the heatmaps over their pixels, by indicator; empty below level cam."""
    mask_iou: dict[str, float] = field(default_factory=dict)
    """Intersection over union of the mask probabilities cut at their operating points, whether the indicator
    is present or not, pixels of all images together, by indicator; 1 where both are empty; empty below level
    full."""

    def to_dict(self) -> dict[str, Any]:
        """Make it ready for JSON.

        Returns:
            All fields.
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gates:
    """What an agreement must reach."""

    melanoma_flips: int
    probability_difference: float
    median_correlation: float
    worst_correlation: float
    mask_iou: float
    lost_heatmaps: int = 0
    unfamiliar_flips: int = 0

    def to_dict(self) -> dict[str, float]:
        """Make them ready for JSON.

        Returns:
            All fields.
        """
        return asdict(self)

    def problems(self, agreement: Agreement) -> list[str]:
        """List what an agreement misses.

        Args:
            agreement: What was measured.

        Returns:
            One phrase per missed gate, none where all are reached; what is no number misses its gate.
        """
        rows = [
            ("melanoma decisions that flip", agreement.melanoma_flips, self.melanoma_flips, False),
            (
                "largest probability difference",
                agreement.probability_difference,
                self.probability_difference,
                False,
            ),
            (
                "images familiar to one alone",
                agreement.unfamiliar_flips,
                self.unfamiliar_flips,
                False,
            ),
            ("heatmaps all zero that were not", agreement.lost_heatmaps, self.lost_heatmaps, False),
        ]
        for name, spread in agreement.heatmap_correlation.items():
            rows.append(
                (f"median heatmap correlation of {name}", spread.median, self.median_correlation, True)
            )
            rows.append((f"worst heatmap correlation of {name}", spread.worst, self.worst_correlation, True))
        rows += [
            (f"mask IoU of {name}", iou, self.mask_iou, True) for name, iou in agreement.mask_iou.items()
        ]
        return [
            f"{title} is {value:.4g}, {'at least' if wants_more else 'at most'} {gate:g} is accepted"
            for title, value, gate, wants_more in rows
            if not (value >= gate if wants_more else value <= gate)
        ]


GATES: Mapping[Precision, Gates] = {
    "float32": Gates(0, 1e-3, 0.9999, 0.99, 0.97),
    "float16": Gates(0, 1.5e-2, 0.999, 0.9, 0.85),
    "bfloat16": Gates(0, 1.5e-2, 0.995, 0.9, 0.8),
    "int8": Gates(0, 6e-2, 0.98, 0.7, 0.7),
}
"""What each precision must reach.

The yardstick is what the model itself makes of changes that nobody sees, in float32: one grey level of noise
on the pixels, or saving them as a JPEG of quality 95. On 24 photographs these moved the demo's probabilities
by up to 0.014 and 0.058; the median heatmap correlation of its worst indicator was 0.995 and 0.986, the worst
correlation 0.95 and 0.44, and the lowest mask IoU 0.80 and 0.72 (`python -m benchmarks.perturbation`).
float16 and bfloat16 stay within the noise, int8 about within the JPEG, and no format may change a decision on
melanoma. Masks move most: a ReLU that switches where an activation is nearly zero moves the finest of the
twelve heatmaps that a mask is computed from.
"""

FAINT = 0.1
"""Log-odds that a heatmap's cells would add together if each were as strong as its strongest.

Below it, a heatmap is not compared: nothing on the photograph moves the indicator's logit by even that much,
its cells are sums that cancel, and divided by their maximum they show rounding.
"""


class AgreementMeter:
    """Compares batch after batch in bounded memory."""

    def __init__(self, manifest: Manifest) -> None:
        """Start without images.

        Args:
            manifest: Says from which probability something counts as present.
        """
        self._manifest = manifest
        self._images = self._melanoma_flips = self._presence_flips = self._lost = self._faint = 0
        self._unfamiliar_flips = 0
        self._probability = self._contribution = 0.0
        self._correlations: dict[str, list[float]] = {}
        self._overlaps: dict[str, NDArray[np.int64]] = {}

    def add(self, actual: Outputs, expected: Outputs) -> None:
        """Compare a batch.

        Args:
            actual: What was computed.
            expected: What should have been computed from the same images; may have more outputs.
        """
        melanoma, presence = "melanoma_probability", "indicator_probability"
        self._images += len(actual[melanoma])
        threshold = self._manifest.melanoma.threshold
        self._melanoma_flips += _flips(actual[melanoma], expected[melanoma], threshold)
        points = [self._manifest.operating_points[name] for name in self._manifest.indicators]
        thresholds = np.array([np.inf if point.presence is None else point.presence for point in points])
        self._presence_flips += _flips(actual[presence], expected[presence], thresholds)
        for name in (melanoma, presence):
            self._probability = max(self._probability, _largest_difference(actual[name], expected[name]))
        contribution = "melanoma_contribution"
        difference = _largest_difference(actual[contribution], expected[contribution])
        self._contribution = max(self._contribution, difference)
        if self._manifest.familiarity is not None:
            threshold = self._manifest.familiarity.threshold
            self._unfamiliar_flips += _flips(actual[FAMILIARITY], expected[FAMILIARITY], threshold)
        for j, name in enumerate(self._manifest.indicators):
            if "heatmap" in actual:
                scales = expected["heatmap_scale"][:, j]
                self._add_heatmaps(name, actual["heatmap"][:, j], expected["heatmap"][:, j], scales)
            if "mask_probability" in actual:
                pair = (outputs["mask_probability"][:, j] >= points[j].mask for outputs in (actual, expected))
                self._add_masks(name, *pair)

    def result(self) -> Agreement:
        """Sum up.

        Returns:
            The agreement over all images so far.
        """
        return Agreement(
            images=self._images,
            melanoma_flips=self._melanoma_flips,
            presence_flips=self._presence_flips,
            probability_difference=self._probability,
            contribution_difference=self._contribution,
            lost_heatmaps=self._lost,
            unfamiliar_flips=self._unfamiliar_flips,
            faint_heatmaps=self._faint,
            heatmap_correlation={
                name: Spread(float(np.median(values)), float(np.min(values)))
                for name, values in self._correlations.items()
                if values
            },
            mask_iou={
                name: float(both / either) if either else 1.0
                for name, (both, either) in self._overlaps.items()
            },
        )

    def _add_heatmaps(
        self,
        name: str,
        actual: NDArray[np.float32],
        expected: NDArray[np.float32],
        scales: NDArray[np.float32],
    ) -> None:
        values = self._correlations.setdefault(name, [])
        for one, other, scale in zip(actual, expected, scales, strict=True):
            if scale * other.size < FAINT:
                self._faint += bool(scale > 0)
                continue
            self._lost += not one.any()
            values.append(correlation(one, other))

    def _add_masks(self, name: str, actual: NDArray[np.bool_], expected: NDArray[np.bool_]) -> None:
        counts = np.array([(actual & expected).sum(), (actual | expected).sum()])
        self._overlaps[name] = self._overlaps.get(name, np.zeros(2, np.int64)) + counts


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's correlation of two maps.

    Args:
        one: A map, any shape.
        other: A map of the same shape.

    Returns:
        In [-1, 1]; 0 where one of them is the same everywhere and the other is not, 1 where both are.
    """
    a, b = (values.astype(np.float64).ravel() - values.mean(dtype=np.float64) for values in (one, other))
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if 0.0 in lengths:
        return float(lengths[0] == lengths[1])
    return float(a @ b / (lengths[0] * lengths[1]))


def _flips(
    actual: NDArray[np.float32], expected: NDArray[np.float32], threshold: float | NDArray[np.float64]
) -> int:
    return int(np.sum((actual >= threshold) != (expected >= threshold)))


def _largest_difference(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest absolute difference; infinite where a value is no number."""
    difference = np.abs(actual.astype(np.float64) - expected)
    return float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")
