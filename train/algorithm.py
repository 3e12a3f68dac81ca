"""Algorithm 1 of the paper: one iteration of it, and what surrounds an epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam
from torch.optim.swa_utils import update_bn

from train.config.stages import StageConfig
from train.data.batches import Batches, Material, Plan, Segmented
from train.encoders import Encoder
from train.engine import Engine
from train.gradcam import explain, stack_heatmaps
from train.heads import Classifier, Projection, SupervisedClassifier
from train.losses import (
    adversarial_perturbation,
    bernoulli_divergence,
    mask_supervision,
    masked_bce,
    nt_xent,
    soft_dice,
)
from train.network import IndicatorNetwork

WARM_UP = 0.1
"""Part of a one-cycle schedule in which the learning rate rises."""

SETTLING_BATCHES = 4
SETTLING_BATCH = 32
"""Batches, and images in each, that batch norm's statistics are taken from after an epoch."""


class Subnetworks:
    """f_CLR, f_Res and f_Seg of one network, each with its own Adam; all have the encoder's convolutions."""

    def __init__(self, network: IndicatorNetwork, stage: StageConfig, engine: Engine) -> None:
        self.network = network
        parts: dict[str, nn.Module] = {}
        if stage.contrastive_batch:
            parts["contrastive"] = Projection(network.encoder, network.projection_head)
        if stage.classification_batch:
            parts["classification"] = _classifier(network, stage)
        for task in network.localised if stage.segmentation_batch else ():
            parts[f"segmentation-{task}"] = network.heatmap_path(task)
        self.optimizers = {
            name: Adam(
                self._groups(part, stage),
                weight_decay=stage.optimizer.weight_decay,
                decoupled_weight_decay=stage.optimizer.decoupled,
            )
            for name, part in parts.items()
        }
        self._parts = {name: engine.distribute(part) for name, part in parts.items()}

    def _groups(self, part: nn.Module, stage: StageConfig) -> list[dict[str, Any]]:
        """The encoder's weights and all others, each with its learning rate."""
        of_encoder = set(self.network.encoder.parameters())
        trained = [weight for weight in part.parameters() if weight.requires_grad]
        rate = stage.optimizer.learning_rate
        rates = {True: stage.optimizer.encoder_learning_rate or rate, False: rate}
        return [
            {"params": [w for w in trained if (w in of_encoder) == shared], "lr": r, "base_lr": r}
            for shared, r in rates.items()
        ]

    def part(self, name: str) -> tuple[nn.Module, Adam]:
        """A subnetwork and its optimizer."""
        return self._parts[name], self.optimizers[name]

    def set_learning_rate(self, stage: StageConfig, iteration: int) -> None:
        """Learning rates of an iteration; its number alone decides, so that a resumed run has them too."""
        part = 1.0
        if stage.optimizer.schedule == "cosine":
            epoch = iteration // stage.iterations
            part = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / stage.epochs))
        elif stage.optimizer.schedule == "one_cycle":
            part = one_cycle((iteration + 1) / (stage.epochs * stage.iterations + 1))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = part * group["base_lr"]


def _classifier(network: IndicatorNetwork, stage: StageConfig) -> Classifier:
    encoder, head, masks = network.encoder, network.classification_head, network.mask_head
    if not stage.mask_supervision:
        return Classifier(encoder, head)
    assert masks is not None, "the configuration asks for both or neither"
    rows = [network.tasks.index(indicator) for indicator in network.indicators]
    return SupervisedClassifier(encoder, head, masks, rows)


def one_cycle(done: float) -> float:
    """Part of the learning rate: up in a line over the first tenth, down by half a cosine after it.

    Source: Smith and Topin, Super-Convergence, 2019, arXiv:1708.07120
    """
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


@dataclass(frozen=True)
class ExplainedEncoder:
    """E3: a frozen copy of an encoder and its head, which Grad-CAM explains."""

    encoder: Encoder
    classification_head: nn.Linear

    @classmethod
    def copy_of(cls, network: IndicatorNetwork) -> "ExplainedEncoder":
        """Copy the current weights of a network."""
        copy = IndicatorNetwork(network.config, network.tasks, ())
        weight = network.classification_head.weight
        copy.to(weight.device, weight.dtype)
        copy.encoder.load_state_dict(network.encoder.state_dict())
        copy.classification_head.load_state_dict(network.classification_head.state_dict())
        copy.to(memory_format=torch.channels_last)
        copy.requires_grad_(False).eval()
        return cls(copy.encoder, copy.classification_head)

    def heatmaps(self, pixels: Tensor, task: int, size_px: int) -> Tensor:
        """H, shape (N, 12, size_px, size_px), in [0, 1], of normalised pixels (N, 3, H, W)."""
        explanation = explain(self.encoder, self.classification_head, pixels, task)
        return stack_heatmaps(explanation.raw_heatmaps, size_px)


class HeatmapCache:
    """Heatmaps of images under an encoder that does not change: computed once, kept in half precision."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int], Tensor] = {}

    def get(self, part: Segmented, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """H of an f_Seg update's images, shape (n, 12, Hs, Ws) float32; what is new is computed."""
        keys = [(part.indicator, *of) for of in zip(part.indices, part.views, strict=True)]
        new = [place for place, key in enumerate(keys) if key not in self._kept]
        if new:
            # A batch of one may round otherwise than a larger one, and a resumed run batches anew.
            images = part.images[new if len(new) > 1 else new * 2]
            for place, heatmaps in zip(new, compute(images), strict=False):
                self._kept[keys[place]] = heatmaps.half().cpu()
        return torch.stack([self._kept[key] for key in keys]).float()


def _turn(map_: Tensor, number: int) -> Tensor:
    """One of the eight symmetries of the square of a map (..., H, W)."""
    turned = torch.rot90(map_, number % 4, (-2, -1))
    return turned.flip(-1) if number >= 4 else turned


@dataclass(frozen=True)
class Iteration:
    """Lines 9 to 16 of Algorithm 1 for one network."""

    engine: Engine
    batches: Batches
    plan: Plan
    subnetworks: Subnetworks
    temperature: float
    """tau of the contrastive loss."""
    cache: "HeatmapCache | None" = None
    """Heatmaps of an encoder that stays as it is; None where it learns."""

    def train(self, number: int, material: Material, explained: ExplainedEncoder | None) -> dict[str, float]:
        """Make the updates of one iteration.

        Args:
            number: Of the iteration in its stage; chance comes from it.
            material: Images and truths of this process.
            explained: E3; None where the stage has no f_Seg.

        Returns:
            Loss of each subnetwork, of f_Seg the mean over its repeats.
        """
        engine, network = self.engine, self.subnetworks.network
        device = engine.device
        network.train()
        losses = {}
        if material.contrastive is not None:
            views = self.batches.views(material.contrastive.to(device), self.plan, number).to(engine.dtype)
            losses["contrastive"] = engine.update(
                *self.subnetworks.part("contrastive"), views, self._contrastive_loss, self._gradient_norm
            )
        if material.classification is not None and material.labels is not None:
            pixels = self.batches.classified(material.classification.to(device), self.plan, number)
            pixels = pixels.to(engine.dtype)
            inputs, loss_of = self._classification(pixels, material, number)
            losses["classification"] = engine.update(
                *self.subnetworks.part("classification"), inputs, loss_of, self._gradient_norm
            )
        repeats = []
        for repeat, part in enumerate(material.segmentation if explained else ()):
            assert explained is not None  # or the loop would be empty
            heatmaps, truth = self._heatmaps(part, explained), part.masks.to(device)
            if self.plan.stage.augment != "none":
                heatmaps, truth = self._turned(heatmaps, truth, number, repeat)
            loss = engine.update(
                *self.subnetworks.part(f"segmentation-{part.indicator}"),
                heatmaps.to(engine.dtype),
                lambda logits, truth=truth: self._mean(self._segmentation_loss(logits, truth)),  # type: ignore[misc]
                self._gradient_norm,
            )
            repeats.append(loss)
        if repeats:
            losses["segmentation"] = sum(repeats) / len(repeats)
        return losses

    @property
    def _gradient_norm(self) -> float | None:
        return self.plan.stage.optimizer.gradient_norm

    def _heatmaps(self, part: Segmented, explained: ExplainedEncoder) -> Tensor:
        """H of the images of an f_Seg update, in the precision of prediction: half changes the finer ones."""
        task = self.subnetworks.network.tasks.index(part.indicator)
        size_px = self.subnetworks.network.config.heatmap_size_px

        def compute(images: Tensor) -> Tensor:
            pieces = torch.split(images, self.engine.machine.micro_batch or len(images))
            return torch.cat(
                [explained.heatmaps(self.engine.normalise(piece), task, size_px) for piece in pieces]
            )

        if self.cache is None:
            return compute(part.images)
        return self.cache.get(part, compute).to(self.engine.device)

    def _turned(self, heatmaps: Tensor, truth: Tensor, number: int, repeat: int) -> tuple[Tensor, Tensor]:
        """Heatmaps (n, 12, Hs, Ws) and masks (n, H, W), each image flipped and turned by quarters alike."""
        generator = self.batches.generator(self.plan.name, number, f"turns-{repeat}")
        count = self.plan.stage.segmentation_batch
        own = self.batches.share.of(count, "segmentation_batch")
        drawn = torch.randint(8, (count,), generator=generator)[own].tolist()
        pairs = [(_turn(h, d), _turn(t, d)) for h, t, d in zip(heatmaps, truth, drawn, strict=True)]
        return torch.stack([h for h, _ in pairs]), torch.stack([t for _, t in pairs])

    def _segmentation_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Soft dice, and the cross entropy of the pixels where the stage wants it."""
        loss = soft_dice(torch.sigmoid(logits), truth, squared=self.plan.stage.dice == "squared")
        weight = self.plan.stage.segmentation_cross_entropy
        if not weight:
            return loss
        return loss + weight * binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))

    def _contrastive_loss(self, embeddings: Tensor) -> Tensor:
        first, second = embeddings.chunk(2)
        return nt_xent(self.engine.gather(first), self.engine.gather(second), self.temperature)

    def _classification(
        self, pixels: Tensor, material: Material, number: int
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Inputs of an f_Res update and their loss: BCE, and that of masks or the virtual adversarial one."""
        assert material.labels is not None
        labels = material.labels.to(self.engine.device)
        weight = self.batches.positive_weight(self.plan.tasks).to(self.engine.device)
        settings = self.plan.stage.adversarial
        if material.masks is not None:
            truth = self.batches.supervised(material.masks.to(self.engine.device), self.plan, number)
            supervision = self.plan.stage.mask_supervision

            def loss_with_masks(outputs: Tensor) -> Tensor:
                logits, masks = torch.split(outputs, [labels.shape[1], truth[0].numel()], dim=1)
                of_masks = self._mean(mask_supervision(masks.view(truth.shape), truth))
                return masked_bce(self.engine.gather(logits), labels, weight) + supervision * of_masks

            return pixels, loss_with_masks
        if settings is None or material.adversarial is None:
            return pixels, lambda logits: masked_bce(self.engine.gather(logits), labels, weight)
        unlabelled = self.engine.normalise(material.adversarial)
        perturbed = unlabelled + self._perturbation(unlabelled, number)

        def loss_of(logits: Tensor) -> Tensor:
            # One pass over all three parts: the answers to compare have the same batch statistics.
            labelled, plain, moved = torch.split(logits, [len(pixels), len(unlabelled), len(unlabelled)])
            divergence = self._mean(bernoulli_divergence(plain, moved))
            return masked_bce(self.engine.gather(labelled), labels, weight) + settings.weight * divergence

        return torch.cat([pixels, unlabelled, perturbed]), loss_of

    def _perturbation(self, pixels: Tensor, number: int) -> Tensor:
        """Where the answers to images change fastest, shape (n, 3, H, W)."""
        settings = self.plan.stage.adversarial
        assert settings is not None  # only f_Res with the virtual adversarial loss comes here
        generator = self.batches.generator(self.plan.name, number, "direction")
        shape = (settings.batch, *pixels.shape[1:])
        part = self.batches.share.of(settings.batch, "adversarial.batch")
        direction = torch.randn(shape, generator=generator)[part].to(pixels)
        network, size = self.subnetworks.network, self.engine.machine.micro_batch or len(pixels)
        network.eval()  # so that the search leaves batch norm's running statistics alone
        perturbations = [
            adversarial_perturbation(
                network.classify,
                images,
                start,
                epsilon=settings.epsilon,
                xi=settings.xi,
                power_iterations=settings.power_iterations,
            )
            for images, start in zip(torch.split(pixels, size), torch.split(direction, size), strict=True)
        ]
        network.train()
        return torch.cat(perturbations)

    def _mean(self, of_part: Tensor) -> Tensor:
        """Mean of a loss over the processes' parts, which are of one size."""
        return self.engine.gather(of_part[None]).mean()


def settle_batch_norm(
    network: IndicatorNetwork, plan: Plan, batches: Batches, engine: Engine, epoch: int
) -> None:
    """Take batch norm's running statistics from plain training images.

    While training, they are a mixture of augmented views, cropped and recoloured, and of images as they are;
    prediction, and Grad-CAM on E3, only ever see the latter.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, arXiv:2105.07576, section 3
    """
    pixels = [
        engine.normalise(batches.plain(SETTLING_BATCH, plan.name, epoch * SETTLING_BATCHES + i))
        for i in range(SETTLING_BATCHES)
    ]
    with engine.autocast():
        update_bn(pixels, network.encoder)
    network.eval()
    if not plan.stage.segmentation_batch:
        return
    explained = ExplainedEncoder(network.encoder, network.classification_head)
    for indicator in plan.localised:
        task = network.tasks.index(indicator)
        size = engine.machine.micro_batch or SETTLING_BATCH
        heatmaps = [
            torch.cat(
                [
                    explained.heatmaps(part, task, network.config.heatmap_size_px)
                    for part in torch.split(batch, size)
                ]
            )
            for batch in pixels
        ]
        with engine.autocast():
            update_bn(heatmaps, network.heatmap_path(indicator))
