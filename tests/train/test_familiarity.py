import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis

from train.familiarity import Familiarity, choose_threshold, weights_of_sources


def features(count: int, seed: int, size: int = 12) -> NDArray[np.float32]:
    """Of five encoders, correlated and of unequal spread, shape (count, 5, size)."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, size)) @ np.random.default_rng(0).normal(size=(size, size))
    return (mixed[:, None] + 0.1 * rng.normal(size=(count, 5, size)) + 30).astype(np.float32)


def root(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.where(values < 0, -1, 1) * np.abs(values.astype(np.float64)) ** 0.5


def fitted(axes: int) -> Familiarity:
    model = Familiarity(12, axes)
    model.fit(features(400, seed=1), np.ones(400))
    return model


def test_with_all_axes_it_is_the_mahalanobis_distance() -> None:
    training, others = root(features(400, seed=1).mean(1)), features(5, seed=2)
    inverse = np.linalg.inv(np.cov(training, rowvar=False, bias=True))
    expected = [mahalanobis(one, training.mean(0), inverse) / np.sqrt(12) for one in root(others.mean(1))]
    scores = fitted(axes=12)(torch.from_numpy(others)).numpy()
    np.testing.assert_allclose(-scores, expected, rtol=1e-3)


@pytest.mark.parametrize("axes", [3, 8, 12])
def test_training_photographs_are_at_about_minus_one(axes: int) -> None:
    scores = fitted(axes)(torch.from_numpy(features(400, seed=1)))
    assert torch.sqrt(scores.square().mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("axes", [3, 8])
def test_what_lies_off_the_axes_is_unfamiliar(axes: int) -> None:
    model = fitted(axes)
    usual = torch.from_numpy(features(50, seed=3))
    strange = torch.from_numpy(np.random.default_rng(4).normal(30, 10, size=(50, 5, 12)).astype(np.float32))
    assert model(strange).median() < model(usual).min()


def test_the_threshold_turns_away_one_in_a_hundred() -> None:
    scores = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    assert np.mean(scores < choose_threshold(scores)) == 0.01


def test_weighing_photographs_is_repeating_them() -> None:
    once, repeated = Familiarity(12, 4), Familiarity(12, 4)
    training = features(90, seed=1)
    once.fit(training, np.repeat([3.0, 1.0], [30, 60]))
    repeated.fit(np.concatenate([training[:30]] * 3 + [training[30:]]), np.ones(150))
    others = torch.from_numpy(features(20, seed=2))
    torch.testing.assert_close(once(others), repeated(others))


def test_every_source_counts_the_same() -> None:
    weights = weights_of_sources(["rare", "common", "common", "common", "rare"])
    np.testing.assert_allclose([weights[[0, 4]].sum(), weights[1:4].sum()], 1)
