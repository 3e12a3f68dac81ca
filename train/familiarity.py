"""How much a photograph looks like those that a model learnt from, by what its encoders see in it.

A score inside the graph: what is unlike the training photographs gets no diagnosis.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

METHOD = (
    "negative Mahalanobis distance of the encoders' mean features after a signed square root, by "
    "probabilistic principal components"
)
"""What the score is, for the manifest."""

SOURCE = (
    "distance: Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and "
    "Adversarial Attacks, arXiv:1807.03888; square root: Perronnin et al. 2010, Improving the Fisher Kernel "
    "for Large-Scale Image Classification; covariance: Tipping and Bishop 1999, Probabilistic Principal "
    "Component Analysis"
)
"""Where it was published."""

TURNED_AWAY = 0.01
"""Part of the validation photographs whose score is below the threshold."""


class Familiarity(nn.Module):
    """Gaussian of the training photographs' features: full along K axes, the same variance in all others.

    Its constants are a few hundred kilobytes, where a full covariance matrix would be several megabytes.
    """

    mean: Tensor
    axes: Tensor
    precision: Tensor
    precision_outside: Tensor

    def __init__(self, features: int, components: int) -> None:
        """Build one that is not fitted.

        Args:
            features: Length D of an encoder's feature vector.
            components: Number K of axes.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, components))
        self.register_buffer("precision", torch.ones(components))
        self.register_buffer("precision_outside", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Score.

        Args:
            features: One feature vector per encoder, shape (N, J, D).

        Returns:
            Minus the Mahalanobis distance, per dimension, shape (N): -1 is usual, lower is less familiar.
        """
        centred = signed_root(features.mean(1)) - self.mean
        along = centred @ self.axes  # (N, K)
        outside = centred.square().sum(1) - along.square().sum(1)
        squared = (along.square() * self.precision).sum(1) + outside.clamp_min(0) * self.precision_outside
        return -torch.sqrt(squared / centred.shape[1])

    @torch.no_grad()
    def fit(self, features: NDArray[np.float32], weights: NDArray[np.float64]) -> None:
        """Fit it to training photographs.

        Args:
            features: Of more photographs than there are axes, shape (N, J, D).
            weights: How much each counts, shape (N); any unit.
        """
        roots = signed_root(torch.from_numpy(features).double().mean(1)).numpy()
        shares = weights / weights.sum()
        mean = shares @ roots
        _, lengths, axes = np.linalg.svd(np.sqrt(shares)[:, None] * (roots - mean), full_matrices=False)
        variances = lengths**2
        size, count = self.axes.shape
        outside = variances[count:].sum() / (size - count) if size > count else variances[-1]
        self.mean.copy_(torch.from_numpy(mean))
        self.axes.copy_(torch.from_numpy(axes[:count].T))
        self.precision.copy_(torch.from_numpy(1 / np.maximum(variances[:count], outside)))
        self.precision_outside.copy_(torch.tensor(1 / outside))


def signed_root(features: Tensor) -> Tensor:
    """Square root of the magnitude with the sign kept: few features are strong, most are near zero."""
    return torch.sign(features) * torch.sqrt(torch.abs(features))


def weights_of_sources(sources: Sequence[str]) -> NDArray[np.float64]:
    """Weights with which every source counts the same, whatever its number of photographs, shape (N)."""
    counts = Counter(sources)
    return np.array([1 / counts[source] for source in sources])


def choose_threshold(scores: NDArray[np.float32]) -> float:
    """Score below which a photograph is unfamiliar: of these validation photographs, 1 % are."""
    return float(np.quantile(scores, TURNED_AWAY))
