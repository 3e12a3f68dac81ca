"""Published scores of how familiar a picture is, computed from the same features and compared.

Each is fitted to training photographs, and higher for what is more familiar.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from biounet_edge.evaluation.probabilities import auc
from train.familiarity import Familiarity, choose_threshold, signed_root

Features = NDArray[np.float32]
Score = Callable[[Features], NDArray[np.float64]]

NEIGHBOUR = 50
"""Which neighbour's distance counts; Sun et al. use 50 for small banks."""

RESIDUAL_AXES = 64
"""Axes of the principal space of ViM's residual."""


@dataclass(frozen=True)
class Pictures:
    """Features of all pictures that the scores are compared on; (N, J, D) each."""

    training: Features
    melanoma: NDArray[np.float32]
    """Labels of the training photographs, 0 or 1, shape (N)."""
    weights: NDArray[np.float64]
    """How much each training photograph counts in Gaussians, shape (N)."""
    validation: Features
    foreign: Mapping[str, Features]
    """By kind."""


def compare(pictures: Pictures, axes: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Fit every score and judge it on foreign pictures.

    Args:
        pictures: Features.
        axes: Numbers of axes that the model's own score is tried with.

    Yields:
        Score, float32 constants in MB, AUROC, and the parts of all foreign pictures, and of the worst kind,
        that are turned away where 1 % of the validation photographs are.
    """
    for root, change in ((False, _mean), (True, _mean_root)):
        training, validation = change(pictures.training), change(pictures.validation)
        foreign = {kind: change(features) for kind, features in pictures.foreign.items()}
        for name, (score, numbers) in _fit_all(training, pictures.melanoma).items():
            yield _judge(f"{name}, signed root" if root else name, score, numbers, validation, foreign)
    for count in axes:
        own = Familiarity(pictures.training.shape[2], count)
        own.fit(pictures.training, pictures.weights)
        yield _judge(
            f"Mahalanobis, {count} principal axes, signed root, sources weighed alike",
            lambda features, own=own: own(torch.from_numpy(features)).double().numpy(),  # type: ignore[misc]
            sum(buffer.numel() for buffer in own.buffers()),
            pictures.validation,
            pictures.foreign,
        )


def _judge(
    name: str, score: Score, numbers: int, validation: Features, foreign: Mapping[str, Features]
) -> tuple[str, ...]:
    known = score(validation)
    threshold = choose_threshold(known)
    of_kind = {kind: score(features) for kind, features in foreign.items()}
    everything = np.concatenate(list(of_kind.values()))
    truth = np.repeat([0, 1], [len(everything), len(known)])
    turned_away = {kind: np.mean(scores < threshold) for kind, scores in of_kind.items()}
    worst = min(turned_away, key=lambda kind: turned_away[kind])
    return (
        name,
        f"{4e-6 * numbers:.1f}",
        f"{auc(truth, np.concatenate([everything, known])):.4f}",
        f"{np.mean(everything < threshold):.1%}",
        f"{turned_away[worst]:.0%} ({worst})",
    )


def _fit_all(training: Features, melanoma: NDArray[np.float32]) -> dict[str, tuple[Score, int]]:
    size = training.shape[1]
    return {
        "Mahalanobis (Lee et al. 2018)": (_mahalanobis(training), size * (size + 1)),
        "relative Mahalanobis (Ren et al. 2021)": (
            _relative_mahalanobis(training, melanoma),
            size * (2 * size + 3),
        ),
        f"distance of neighbour {NEIGHBOUR} (Sun et al. 2022)": (_neighbour(training), training.size),
        "residual of the principal space (Wang et al. 2022)": (
            _residual(training),
            size * (RESIDUAL_AXES + 1),
        ),
    }


def _mean(features: Features) -> Features:
    return features.mean(axis=1)


def _mean_root(features: Features) -> Features:
    return signed_root(torch.from_numpy(features).mean(1)).numpy()


def _mahalanobis(training: Features) -> Score:
    gaussian = LedoitWolf().fit(training)
    return lambda features: -gaussian.mahalanobis(features)


def _relative_mahalanobis(training: Features, melanoma: NDArray[np.float32]) -> Score:
    """Distance to the nearest class, with a covariance in common, less that to one Gaussian."""
    means = np.stack([training[melanoma == label].mean(axis=0) for label in (0, 1)])
    within = LedoitWolf(assume_centered=True).fit(training - means[melanoma.astype(int)])
    background = LedoitWolf().fit(training)

    def score(features: Features) -> NDArray[np.float64]:
        nearest = np.min([within.mahalanobis(features - mean) for mean in means], axis=0)
        difference: NDArray[np.float64] = background.mahalanobis(features) - nearest
        return difference

    return score


def _neighbour(training: Features) -> Score:
    bank = NearestNeighbors(n_neighbors=NEIGHBOUR).fit(normalize(training))
    return lambda features: -bank.kneighbors(normalize(features))[0][:, -1]


def _residual(training: Features) -> Score:
    space = PCA(RESIDUAL_AXES).fit(training)

    def score(features: Features) -> NDArray[np.float64]:
        outside = features - space.inverse_transform(space.transform(features))
        return -np.linalg.norm(outside, axis=1)

    return score
