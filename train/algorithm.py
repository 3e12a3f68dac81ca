"""Algorithm 1 of the paper: one epoch of it, and the validation that chooses E3's weights."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.swa_utils import update_bn

from train.config import TASKS, StageConfig
from train.data.batches import Batches
from train.data.dataset import ImageSet, normalise
from train.gradcam import explain, stack_heatmaps
from train.losses import masked_bce, nt_xent, soft_dice
from train.metrics import auc, continuous_dice
from train.network import Encoder, IndicatorNetwork

VALIDATION_BATCH = 32

SETTLING_BATCHES = 8
"""Batches of VALIDATION_BATCH images that batch norm's running statistics are taken from after an epoch."""


@dataclass(frozen=True)
class Optimizers:
    """Adam of each subnetwork; the encoder's convolutions are in all three."""

    contrastive: Adam
    classification: Adam
    segmentation: Adam

    @classmethod
    def of(cls, network: IndicatorNetwork, stage: StageConfig) -> "Optimizers":
        """Fresh optimizers for a stage."""
        encoder, settings = network.encoder, stage.optimizer
        parts = (
            [encoder, network.projection_head],
            [encoder, network.classification_head],
            [network.heatmap_path],
        )
        return cls(
            *(
                Adam(
                    [weight for part in modules for weight in part.parameters()],
                    lr=settings.learning_rate,
                    weight_decay=settings.weight_decay,
                )
                for modules in parts
            )
        )

    def all(self) -> dict[str, Adam]:
        """By name."""
        return vars(self)

    def set_learning_rate(self, stage: StageConfig, epoch: int) -> None:
        """Learning rate of an epoch; a function of the epoch alone, so that a resumed run has it too."""
        rate = stage.optimizer.learning_rate
        if stage.optimizer.schedule == "cosine":
            rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / stage.epochs))
        for optimizer in self.all().values():
            for group in optimizer.param_groups:
                group["lr"] = rate


@dataclass(frozen=True)
class ExplainedEncoder:
    """E3: a frozen copy of an encoder and its head, which Grad-CAM explains."""

    encoder: Encoder
    classification_head: torch.nn.Linear

    @classmethod
    def copy_of(cls, network: IndicatorNetwork) -> "ExplainedEncoder":
        """Copy the current weights of a network."""
        copy = IndicatorNetwork(network.config, network.tasks)
        copy.load_state_dict(network.state_dict())
        copy.requires_grad_(False).eval()
        return cls(copy.encoder, copy.classification_head)

    def heatmaps(self, pixels: Tensor, task: int, size_px: int) -> Tensor:
        """H, shape (N, 12, size_px, size_px), in [0, 1], of normalised pixels (N, 3, H, W)."""
        explanation = explain(self.encoder, self.classification_head, pixels, task)
        return stack_heatmaps(explanation.raw_heatmaps, size_px)


def train_epoch(
    network: IndicatorNetwork,
    explained: ExplainedEncoder | None,
    stage: StageConfig,
    batches: Batches,
    optimizers: Optimizers,
    temperature: float,
    advance: Callable[[], None],
) -> dict[str, float]:
    """One epoch: lines 9 to 16 of Algorithm 1, `stage.iterations` times.

    Args:
        network: Trains; its first task is the indicator that f_Seg localises.
        explained: E3; None where the stage has no f_Seg.
        stage: Which updates, and their batch sizes.
        batches: Where images come from.
        optimizers: Of this network.
        temperature: tau of the contrastive loss.
        advance: Called after each iteration.

    Returns:
        Mean loss of each subnetwork.
    """
    network.train()
    losses = defaultdict(list)
    for _ in range(stage.iterations):
        if stage.contrastive_batch:
            first, second = batches.contrastive(stage.contrastive_batch)
            first, second = network.project(torch.cat([first, second])).chunk(2)
            loss = nt_xent(first, second, temperature)
            losses["contrastive"].append(_update(optimizers.contrastive, loss))
        if stage.classification_batch:
            pixels, labels = batches.classification(stage, network.tasks)
            loss = masked_bce(network.classify(pixels), labels, batches.positive_weight(network.tasks))
            losses["classification"].append(_update(optimizers.classification, loss))
        for _ in range(stage.segmentation_repeats if explained else 0):
            pixels, truth = batches.segmentation(stage.segmentation_batch, network.tasks[0])
            heatmaps = explained.heatmaps(pixels, 0, network.config.heatmap_size_px)  # type: ignore[union-attr]
            loss = soft_dice(torch.sigmoid(network.segment(heatmaps)), truth)
            losses["segmentation"].append(_update(optimizers.segmentation, loss))
        advance()
    return {name: float(np.mean(values)) for name, values in losses.items()}


def _update(optimizer: Adam, loss: Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def settle_batch_norm(network: IndicatorNetwork, stage: StageConfig, batches: Batches) -> None:
    """Take batch norm's running statistics from plain training images.

    While training, they are a mixture of augmented views, cropped and recoloured, and of images as they are;
    prediction, and Grad-CAM on E3, only ever see the latter.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, arXiv:2105.07576, section 3
    """
    pixels = [batches.plain(VALIDATION_BATCH) for _ in range(SETTLING_BATCHES)]
    update_bn(pixels, network.encoder)
    network.eval()
    if stage.segmentation_batch:
        explained = ExplainedEncoder(network.encoder, network.classification_head)
        heatmaps = [explained.heatmaps(batch, 0, network.config.heatmap_size_px) for batch in pixels]
        update_bn(heatmaps, network.heatmap_path)


@torch.no_grad()
def validate(
    network: IndicatorNetwork, images: ImageSet, sources: frozenset[str], stage: StageConfig
) -> dict[str, float]:
    """Validation figures of a network.

    Args:
        network: Put into evaluation mode.
        images: The validation side.
        sources: Names of the sources whose labels count.
        stage: With f_Seg, masks are judged too.

    Returns:
        AUC of each task as `auc_<task>`, continuous Dice over the filled masks of the first task as
        `cdc_<task>`; what cannot be computed is left out.
    """
    network.eval()
    figures = {}
    if stage.classification_batch:
        chosen = images.indices_where(lambda record: record.source in sources)
        logits = classify_all(network, images, chosen)
        for column, task in enumerate(network.tasks):
            figures[f"auc_{task}"] = auc(images.labels[chosen, TASKS.index(task)].numpy(), logits[:, column])
    if stage.segmentation_batch:
        indicator = network.tasks[0]
        chosen = images.with_filled_mask(indicator)
        truth, masks = segment_all(network, images, chosen, indicator)
        scores = [continuous_dice(t, m) for t, m in zip(truth, masks, strict=True)]
        figures[f"cdc_{indicator}"] = float(np.mean(scores)) if scores else float("nan")
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def classify_all(network: IndicatorNetwork, images: ImageSet, chosen: list[int]) -> np.ndarray:
    """Logits of the chosen images, shape (N, T)."""
    parts = [
        network.classify(normalise(images.images(chosen[start : start + VALIDATION_BATCH]))).numpy()
        for start in range(0, len(chosen), VALIDATION_BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(network.tasks)), np.float32)


def segment_all(
    network: IndicatorNetwork, images: ImageSet, chosen: list[int], indicator: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """True masks (H, W), bool, and mask probabilities (H, W), float32, of the chosen images.

    The heatmaps come from the network's own encoder, as they will in prediction.
    """
    explained = ExplainedEncoder(network.encoder, network.classification_head)
    truths: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    for start in range(0, len(chosen), VALIDATION_BATCH):
        batch = chosen[start : start + VALIDATION_BATCH]
        heatmaps = explained.heatmaps(normalise(images.images(batch)), 0, network.config.heatmap_size_px)
        with torch.no_grad():
            probabilities += list(torch.sigmoid(network.segment(heatmaps)).numpy())
        truths += list(images.masks(batch, indicator).numpy() > 0)
    return truths, probabilities


def score(figures: dict[str, float]) -> float | None:
    """The number that chooses the best weights: the mean of a network's figures, None where it has none."""
    return float(np.mean(list(figures.values()))) if figures else None
