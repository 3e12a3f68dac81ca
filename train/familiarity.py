"""How much a photograph looks like those that a model learnt from, by what its encoders see in it.

A score inside the graph: what is unlike the training photographs gets no diagnosis.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

METHOD = "negative Mahalanobis distance of the encoders' mean features, by probabilistic principal components"
"""What the score is, for the manifest."""

SOURCE = (
    "Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial "
    "Attacks, 2018, arXiv:1807.03888; its covariance from Tipping and Bishop, Probabilistic Principal "
    "Component Analysis, 1999"
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
        self.register_buffer("axes", torch.zeros(components, features))
        self.register_buffer("precision", torch.ones(components))
        self.register_buffer("precision_outside", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Score.

        Args:
            features: One feature vector per encoder, shape (N, J, D).

        Returns:
            Minus the Mahalanobis distance, per dimension, shape (N): -1 is usual, lower is less familiar.
        """
        centred = features.mean(1) - self.mean
        along = centred @ self.axes.T  # (N, K)
        outside = centred.square().sum(1) - along.square().sum(1)
        squared = (along.square() * self.precision).sum(1) + outside.clamp_min(0) * self.precision_outside
        return -torch.sqrt(squared / centred.shape[1])

    @torch.no_grad()
    def fit(self, features: NDArray[np.float32]) -> None:
        """Fit it to training photographs.

        Args:
            features: Of more photographs than there are axes, shape (N, J, D).
        """
        mean_features = features.mean(axis=1, dtype=np.float64)
        mean = mean_features.mean(axis=0)
        _, lengths, axes = np.linalg.svd(mean_features - mean, full_matrices=False)
        variances = lengths**2 / (len(features) - 1)
        count, size = self.axes.shape
        outside = variances[count:].sum() / (size - count) if size > count else variances[-1]
        self.mean.copy_(torch.from_numpy(mean))
        self.axes.copy_(torch.from_numpy(axes[:count]))
        self.precision.copy_(torch.from_numpy(1 / np.maximum(variances[:count], outside)))
        self.precision_outside.copy_(torch.tensor(1 / outside))


def choose_threshold(scores: NDArray[np.float32]) -> float:
    """Score below which a photograph is unfamiliar: of these validation photographs, 1 % are."""
    return float(np.quantile(scores, TURNED_AWAY))
