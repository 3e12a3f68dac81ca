"""What a network answers about the validation images, and the score that chooses E3's weights."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.evaluation.masks import continuous_dice
from biounet_edge.evaluation.probabilities import auc
from train.algorithm import ExplainedEncoder
from train.data.batches import Plan
from train.data.dataset import ImageSet, normalise, resize
from train.engine import Engine
from train.network import IndicatorNetwork
from train.tasks import TASKS

BATCH = 8
"""Images judged at once; Grad-CAM at full width and 512 pixels keeps about half a gigabyte for each."""


def validate(
    network: IndicatorNetwork, images: ImageSet, sources: frozenset[str], plan: Plan, engine: Engine
) -> dict[str, float]:
    """Validation figures of a network.

    Args:
        network: Put into evaluation mode.
        images: The validation side.
        sources: Names of the sources whose labels count.
        plan: Its stage; with f_Seg, masks are judged too.
        engine: In whose precision images are classified; heatmaps need float32.

    Returns:
        AUC of each task as `auc_<task>`, continuous Dice over the filled masks of each localised indicator
        as `cdc_<indicator>`; what cannot be computed is left out.
    """
    network.eval()
    figures = {}
    if plan.stage.classification_batch:
        chosen = images.indices_where(lambda record: record.source in sources)
        with engine.autocast():
            logits = classify_all(network, images, chosen, plan.stage.image_size_px)
        for column, task in enumerate(network.tasks):
            figures[f"auc_{task}"] = auc(images.labels[chosen, TASKS.index(task)].numpy(), logits[:, column])
    if plan.stage.segmentation_batch:
        for indicator in plan.localised:
            chosen = images.with_filled_mask(indicator)
            scores = [
                continuous_dice(truth, as_saved(mask))
                for truth, mask in segment_all(network, images, chosen, indicator)
            ]
            figures[f"cdc_{indicator}"] = float(np.mean(scores)) if scores else math.nan
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def as_saved(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mask probabilities in the 256 steps of the pictures that `predict --save probabilities` writes.

    Continuous Dice counts every pixel above zero as inside: how small a probability is kept decides it.
    """
    return (np.rint(mask * 255) / 255).astype(np.float32)


@torch.no_grad()
def classify_all(
    network: IndicatorNetwork, images: ImageSet, chosen: list[int], size_px: int | None = None
) -> NDArray[np.float32]:
    """Logits of the chosen images, shape (N, T), at the model's input size or another."""
    parts = [
        network.classify(resize(pixels, size_px)).float().cpu().numpy()
        for _, pixels in _batches(network, images, chosen)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(network.tasks)), np.float32)


def segment_all(
    network: IndicatorNetwork, images: ImageSet, chosen: list[int], indicator: str
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float32]]]:
    """True mask (H, W), bool, and mask probability (H, W), float32, of each of the chosen images.

    The heatmaps come from the network's own encoder, as they will in prediction.
    """
    explained = ExplainedEncoder(network.encoder, network.classification_head)
    task = network.tasks.index(indicator)
    for batch, pixels in _batches(network, images, chosen):
        heatmaps = explained.heatmaps(pixels, task, network.config.heatmap_size_px)
        with torch.no_grad():
            probabilities = torch.sigmoid(network.segment(heatmaps, indicator)).cpu().numpy()
        truths = images.masks(batch, indicator).numpy() > 0
        yield from zip(truths, probabilities, strict=True)


def _batches(
    network: IndicatorNetwork, images: ImageSet, chosen: list[int]
) -> Iterator[tuple[list[int], Tensor]]:
    weight = network.classification_head.weight
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        yield batch, normalise(images.images(batch).to(weight.device)).to(weight.dtype)


def score(figures: dict[str, float]) -> float | None:
    """The number that chooses the best weights: the mean of a network's figures, None where it has none."""
    return float(np.mean(list(figures.values()))) if figures else None
