"""Predictions compared with one another."""

import numpy as np
import pytest

from biounet_edge import Prediction

BATCH_TOLERANCE = 1e-5
"""Float32 sums in another order when the batch has another size."""


def assert_same(one: Prediction, other: Prediction, tolerance: float = BATCH_TOLERANCE) -> None:
    assert one.size == other.size
    assert one.melanoma_probability == pytest.approx(other.melanoma_probability, abs=tolerance)
    for name, finding in one.indicators.items():
        twin = other.indicators[name]
        assert finding.probability == pytest.approx(twin.probability, abs=tolerance)
        assert finding.contribution == pytest.approx(twin.contribution, abs=10 * tolerance)
        np.testing.assert_allclose(finding.mask_probability, twin.mask_probability, atol=10 * tolerance)
        np.testing.assert_allclose(finding.heatmap, twin.heatmap, atol=100 * tolerance)
