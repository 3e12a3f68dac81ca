"""Subnetwork 4: the diagnosis as a logistic regression on the frozen encoders' features."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from biounet_edge.evaluation.probabilities import auc
from train.data.dataset import ImageSet, normalise
from train.encoders import count_common_blocks
from train.network import BioUNet

BATCH = 32


@torch.no_grad()
def extract_features(
    model: BioUNet, images: ImageSet, chosen: list[int], advance: Callable[[int], None] = lambda count: None
) -> NDArray[np.float32]:
    """Feature vectors of the encoders, shape (N, G, D), float32.

    Args:
        model: In evaluation mode.
        images: Where the pixels are.
        chosen: Indices of the images.
        advance: Called with the number of images done after each batch.
    """
    encoders = [network.encoder for network in model.all_networks()]
    common = count_common_blocks(encoders)
    parts = []
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        pixels = normalise(images.images(batch).to(model.fusion_head.weight.device))
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        # What the encoders have in common is computed once.
        trunks = [encoder.trunk(pixels, common) for encoder in (encoders[:1] if common else encoders)]
        features = [
            encoder.crown(trunks[0 if common else place], common).float()
            for place, encoder in enumerate(encoders)
        ]
        parts.append(torch.stack(features, dim=1).cpu().numpy())
        advance(len(batch))
    return np.concatenate(parts)


def fit_fusion(
    model: BioUNet,
    training: tuple[NDArray[np.float32], NDArray[np.float32]],
    validation: tuple[NDArray[np.float32], NDArray[np.float32]],
    regularisation: Iterable[float],
) -> dict[str, float]:
    """Train the fusion head and write it into the model.

    Args:
        model: Its fusion head is set.
        training: Features (N, G, D) and melanoma labels (N), 0 or 1.
        validation: The same of the validation side; chooses the regularisation.
        regularisation: Candidates for scikit-learn's C.

    Returns:
        The chosen `fusion_c` and the validation `auc_melanoma` it reached.
    """
    features, labels = training
    count, encoders, length = features.shape
    scaler = StandardScaler().fit(features.reshape(count, -1))
    flat = scaler.transform(features.reshape(count, -1))
    flat_validation = scaler.transform(validation[0].reshape(len(validation[0]), -1))
    best: tuple[float, float, LogisticRegression] | None = None
    for c in regularisation:
        regression = LogisticRegression(C=c, max_iter=2000).fit(flat, labels)
        reached = auc(validation[1], regression.decision_function(flat_validation))
        if best is None or reached > best[0]:
            best = (reached, c, regression)
    assert best is not None  # the configuration refuses an empty list of candidates
    reached, c, regression = best
    weight = (regression.coef_[0] / scaler.scale_).reshape(encoders, length)  # (G, D)
    offset = -(weight * scaler.mean_.reshape(encoders, length)).sum(1)  # (G)
    head = model.fusion_head
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.offset.copy_(torch.from_numpy(offset))
        head.bias.copy_(torch.tensor(float(regression.intercept_[0])))
    return {"fusion_c": float(c), "auc_melanoma": reached}
