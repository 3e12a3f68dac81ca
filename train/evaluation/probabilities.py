"""What a model says about a batch of images."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.indicators import INDICATORS
from train.data.dataset import normalise
from train.network import BioUNet


@dataclass(frozen=True)
class Probabilities:
    """Calibrated probabilities of N images."""

    melanoma: NDArray[np.float64]
    """Shape (N)."""
    indicators: NDArray[np.float64]
    """Shape (N, J), in the order of INDICATORS."""

    @classmethod
    def join(cls, parts: list["Probabilities"]) -> "Probabilities":
        """Those of several batches as one."""
        return cls(
            np.concatenate([part.melanoma for part in parts]),
            np.concatenate([part.indicators for part in parts]),
        )


@torch.no_grad()
def predict(model: BioUNet, images: Tensor) -> Probabilities:
    """Ask a model about images.

    The fusion head applies its temperature; those of the indicators are in the weights already.

    Args:
        model: In evaluation mode, on any device.
        images: RGB, shape (N, H, W, 3), uint8, on the CPU.
    """
    pixels = normalise(images.to(model.fusion_head.bias.device))
    features = [network.encoder(pixels).features for network in model.all_networks()]
    melanoma, _ = model.fusion_head(torch.stack(features, dim=1))
    indicators = []
    for indicator in INDICATORS:
        network, owner = model.network(indicator), model.config.owner(indicator)
        logit = network.classification_head(features[owner])[:, network.tasks.index(indicator)]
        indicators.append(torch.sigmoid(logit))
    return Probabilities(
        melanoma.double().cpu().numpy(), torch.stack(indicators, dim=1).double().cpu().numpy()
    )
