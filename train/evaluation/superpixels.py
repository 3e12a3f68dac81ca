"""LIME, as the `lime` package computes it.

Source: Ribeiro et al., "Why Should I Trust You?", 2016, arXiv:1602.04938; https://github.com/marcotcr/lime
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from lime import lime_image
from numpy.typing import NDArray
from torch import Tensor

from train.data.dataset import normalise
from train.network import IndicatorNetwork

BATCH: Final = 16
"""Perturbed copies that the network sees at once."""

# LIME draws a progress bar for each image and has no switch for it.
lime_image.tqdm = partial(lime_image.tqdm, disable=True)


@dataclass(frozen=True)
class Lime:
    """Explains by hiding superpixels. An image's map does not depend on which images it comes with."""

    samples: int
    """Perturbed copies of an image that the network is asked about."""
    seed: int
    """Of the superpixels and of what is hidden."""

    def __call__(self, network: IndicatorNetwork, images: Tensor, indicator: str) -> NDArray[np.float32]:
        """Maps of positive evidence; arguments and result are those of `train.evaluation.methods.Method`.

        A superpixel has its weight in LIME's linear model, negative ones 0, divided by the largest.
        """
        return np.stack([self._explain(network, image, indicator) for image in images.numpy()])

    def _explain(
        self, network: IndicatorNetwork, image: NDArray[np.uint8], indicator: str
    ) -> NDArray[np.float32]:
        task = network.tasks.index(indicator)

        @torch.no_grad()
        def probability(copies: NDArray[np.uint8]) -> NDArray[np.float64]:
            pixels = normalise(torch.from_numpy(copies).to(network.classification_head.weight.device))
            return torch.sigmoid(network.classify(pixels)[:, [task]]).double().cpu().numpy()  # (N, 1)

        explanation = lime_image.LimeImageExplainer(random_state=self.seed).explain_instance(
            image,
            probability,
            labels=(0,),
            top_labels=None,
            num_samples=self.samples,
            batch_size=BATCH,
            random_seed=self.seed,
        )
        weights = np.zeros(int(explanation.segments.max()) + 1)
        for superpixel, weight in explanation.local_exp[0]:
            weights[superpixel] = max(weight, 0.0)
        largest = weights.max()
        scaled = weights / largest if largest > 0 else weights
        return scaled[explanation.segments].astype(np.float32)  # type: ignore[no-any-return]
