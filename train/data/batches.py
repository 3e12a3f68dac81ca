"""What an iteration of Algorithm 1 trains on: contrastive views, labelled images, images with masks.

Everything that is drawn for an iteration comes from (seed, stage, iteration) alone. So worker processes may
read ahead, a resumed run draws what an uninterrupted one would have, and each of several processes reads its
own share of the very batch that one process would draw.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from biounet_edge.errors import InputError
from train.config.run import TrainConfig
from train.config.stages import StageConfig
from train.data.augmentation import CONTRASTIVE, OF_CLASSIFICATION, STRONG, apply, move
from train.data.dataset import UNKNOWN, ImageSet, normalise, resize, standardise, to_unit
from train.encoders import MASK_STRIDE
from train.tasks import TASKS, indicators_of


def derive_seed(*parts: object) -> int:
    """A seed for one purpose, such as (seed, stage, iteration)."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Share:
    """Which part of each batch this process trains on."""

    rank: int = 0
    world: int = 1

    def of(self, count: int, what: str) -> slice:
        """Positions of this process's part of a batch.

        Raises:
            InputError: If the batch cannot be divided evenly.
        """
        if count % self.world:
            raise InputError(
                f"{what} is {count}, which {self.world} processes cannot share evenly; "
                f"make it a multiple of {self.world} or start fewer processes"
            )
        size = count // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


@dataclass(frozen=True)
class Segmented:
    """What one process trains on in one f_Seg update."""

    indicator: str
    indices: list[int]
    """Of the images in Dataset A's training side."""
    views: list[int]
    """Which view of each image this is; 0 is the image as it is."""
    images: Tensor
    """Shape (n, H, W, 3), uint8."""
    masks: Tensor
    """Shape (n, H, W), 0 or 1."""


@dataclass(frozen=True)
class Material:
    """What one process trains on in one iteration: uint8 images (n, H, W, 3) and their truths."""

    contrastive: Tensor | None
    """Images of Dataset B."""
    classification: Tensor | None
    """Images with labels."""
    labels: Tensor | None
    """Labels of the whole batch, all processes' parts, shape (N, T), NaN where unknown."""
    masks: Tensor | None
    """Masks of this process's part of the images with labels, one for each indicator of the network, shape
    (n, J, H, W), uint8: 0 or 1, UNKNOWN where nobody drew one."""
    adversarial: Tensor | None
    """Images of the virtual adversarial loss."""
    segmentation: list[Segmented]
    """One for each f_Seg update."""


class Batches:
    """Draws from the training side."""

    def __init__(
        self,
        config: TrainConfig,
        annotated: ImageSet,
        unlabelled: ImageSet,
        share: Share,
        workers: int = 0,
    ) -> None:
        """Hold the images.

        Args:
            config: Of the run: seed and how often each source is drawn.
            annotated: Training side of Dataset A.
            unlabelled: Dataset B.
            share: Part of each batch that is this process's.
            workers: Processes that read ahead; 0 reads in this one.
        """
        self.annotated = annotated
        self.unlabelled = unlabelled
        self.share = share
        self.workers = workers
        self.seed = config.seed
        self._weight_of = {source.name: source.weight for source in config.data.annotated}
        self._weights = self._source_weights({})
        self._positive_weight = _positive_weights(annotated.labels, config.positive_weight_limit)

    def generator(self, stage: str, iteration: int, purpose: str) -> Generator:
        """The chance of one purpose in one iteration of a stage."""
        return Generator().manual_seed(derive_seed(self.seed, stage, iteration, purpose))

    def load(self, plan: "Plan", begin: int, end: int) -> "DataLoader[Material]":
        """Material of the iterations begin to end - 1, in order."""
        return DataLoader(
            _Iterations(self, plan),
            batch_size=None,
            sampler=range(begin, end),
            num_workers=self.workers,
        )

    def views(self, images: Tensor, plan: "Plan", iteration: int) -> Tensor:
        """Two independently augmented views of this process's images, shape (2n, 3, H, W), normalised."""
        count = plan.stage.contrastive_batch
        part = self.share.of(count, "contrastive_batch")
        generator = self.generator(plan.name, iteration, "views")
        unit = to_unit(images)
        size = plan.stage.image_size_px
        views = [apply(unit, CONTRASTIVE.draw(count, generator).part(part), size) for _ in range(2)]
        return standardise(torch.cat(views))

    def classified(self, images: Tensor, plan: "Plan", iteration: int) -> Tensor:
        """Images of f_Res, shape (n, 3, H, W), normalised, augmented if the stage wants it."""
        size = plan.stage.image_size_px
        if plan.stage.augment == "none":
            return resize(normalise(images), size)
        count = plan.stage.classification_batch
        part = self.share.of(count, "classification_batch")
        augmentation = OF_CLASSIFICATION[plan.stage.augment]
        drawn = augmentation.draw(count, self.generator(plan.name, iteration, "augment")).part(part)
        return standardise(apply(to_unit(images), drawn, size))

    def supervised(self, masks: Tensor, plan: "Plan", iteration: int) -> Tensor:
        """Masks (n, J, H, W) of f_Res's images as its mask head sees them.

        Returns:
            Part of each place that is covered, shape (n, J, h, w), in [0, 1]; NaN in masks nobody drew.
        """
        size = plan.stage.image_size_px or masks.shape[-1]
        unknown = masks[:, :, 0, 0] == UNKNOWN
        covered = masks.float()
        if plan.stage.augment == "none":
            covered = functional.interpolate(covered, (size, size), mode="area")
        else:
            count = plan.stage.classification_batch
            part = self.share.of(count, "classification_batch")
            augmentation = OF_CLASSIFICATION[plan.stage.augment]
            drawn = augmentation.draw(count, self.generator(plan.name, iteration, "augment")).part(part)
            covered = move(covered, drawn, size)
        covered = functional.avg_pool2d(covered, MASK_STRIDE)
        covered[unknown] = math.nan
        return covered

    def plain(self, count: int, stage: str, iteration: int) -> Tensor:
        """Images (n, H, W, 3), uint8, drawn like those of f_Res."""
        drawn = torch.multinomial(
            self._weights, count, replacement=True, generator=self.generator(stage, iteration, "plain")
        )
        return self.annotated.images(drawn[self.share.of(count, "plain batch")].tolist())

    def _source_weights(self, over: Mapping[str, float]) -> Tensor:
        """How often each image is drawn, relative to the others, shape (N); `over` replaces the sources'."""
        weight_of = {**self._weight_of, **over}
        return torch.tensor([weight_of[record.source] for record in self.annotated.records])

    def _some(self, indices: list[int], count: int, purpose: str) -> list[int]:
        """At most so many of these images, the same ones in the whole run."""
        if count >= len(indices):
            return indices
        generator = Generator().manual_seed(derive_seed(self.seed, "some", purpose))
        return [
            indices[place] for place in torch.randperm(len(indices), generator=generator)[:count].tolist()
        ]

    def sample(self, indices: Sequence[int], count: int, purpose: str) -> list[int]:
        """Some of these annotated images, without replacement, by the weights of their sources, in order."""
        generator = Generator().manual_seed(derive_seed(self.seed, purpose))
        drawn = torch.multinomial(self._weights[list(indices)], count, replacement=False, generator=generator)
        return sorted(indices[place] for place in drawn.tolist())

    def positive_weight(self, tasks: Sequence[str]) -> Tensor:
        """Weight of the positives of each task, shape (T)."""
        return self._positive_weight[[TASKS.index(task) for task in tasks]]

    def draw_classification(self, stage: StageConfig, tasks: Sequence[str], generator: Generator) -> Tensor:
        """Indices, shape (N), of a stage's annotated images of which at least one of the tasks is known."""
        labels = self.annotated.labels[:, [TASKS.index(task) for task in tasks]]
        weights = self._source_weights(stage.weights) * (~torch.isnan(labels)).any(1)
        if stage.balance:
            weights = weights * _rarity(labels, stage.balance)
        count = stage.classification_batch
        return torch.multinomial(weights, count, replacement=True, generator=generator)

    def draw_segmentation(
        self, stage: StageConfig, indicator: str, generator: Generator
    ) -> list[tuple[int, int]]:
        """Index and view of annotated images with a mask of an indicator, for one f_Seg update of a stage.

        A part of them has the indicator: rare indicators would otherwise give batches of empty masks.
        """
        present = self.annotated.with_filled_mask(indicator)
        known = self.annotated.with_mask(indicator)
        if stage.segmentation_images is not None:
            present = self._some(present, stage.segmentation_images, f"{indicator}, filled")
            known = self._some(known, max(1, stage.segmentation_images // 2), f"{indicator}, known")
        # Spread evenly, so that each process has the same part of them.
        count, part = stage.segmentation_batch, stage.segmentation_filled
        filled = [math.ceil(place * part) for place in range(count + 1)]
        pools = [present or known if after > before else known for before, after in pairwise(filled)]
        chosen = [pool[int(torch.randint(len(pool), (), generator=generator))] for pool in pools]
        most = stage.segmentation_views
        if stage.segmentation_images is not None:
            most = min(most, max(1, stage.segmentation_images // max(1, len(present))))
        views = torch.randint(most, (count,), generator=generator) if most > 1 else torch.zeros(count)
        return list(zip(chosen, views.int().tolist(), strict=True))

    def segmented(self, chosen: Sequence[tuple[int, int]], indicator: str) -> Segmented:
        """Images and masks of an f_Seg update, each as its view shows it."""
        indices, views = [index for index, _ in chosen], [view for _, view in chosen]
        images, masks = self.annotated.images(indices), self.annotated.masks(indices, indicator)
        for place, (index, view) in enumerate(chosen):
            if view:
                seed = derive_seed(self.seed, indicator, index, "view", view)
                drawn = STRONG.draw(1, Generator().manual_seed(seed))
                pixels = apply(to_unit(images[place : place + 1]), drawn)[0]
                images[place] = (pixels.permute(1, 2, 0) * 255).round().to(images.dtype)
                masks[place] = move(masks[place][None, None].float(), drawn)[0, 0] >= 0.5
        return Segmented(indicator, indices, views, images, masks)


@dataclass(frozen=True)
class Plan:
    """What a stage draws for: its name, its updates, its network's tasks."""

    name: str
    stage: StageConfig
    tasks: tuple[str, ...]
    localised: tuple[str, ...]
    """Indicators that f_Seg localises, one after the other; empty without f_Seg."""

    def indicator(self, iteration: int) -> str:
        """The indicator whose f_Seg an iteration updates."""
        return self.localised[iteration % len(self.localised)]


class _Iterations(Dataset[Material]):
    """The material of each iteration of a stage."""

    def __init__(self, batches: Batches, plan: Plan) -> None:
        self._batches = batches
        self._plan = plan

    def __getitem__(self, iteration: int) -> Material:
        batches, plan, stage = self._batches, self._plan, self._plan.stage
        generator = batches.generator(plan.name, iteration, "draw")
        contrastive = classification = labels = masks = adversarial = None
        if stage.contrastive_batch:
            drawn = torch.randint(len(batches.unlabelled), (stage.contrastive_batch,), generator=generator)
            part = batches.share.of(stage.contrastive_batch, "contrastive_batch")
            contrastive = batches.unlabelled.images(drawn[part].tolist())
        if stage.classification_batch:
            drawn = batches.draw_classification(stage, plan.tasks, generator)
            part = batches.share.of(stage.classification_batch, "classification_batch")
            classification = batches.annotated.images(drawn[part].tolist())
            labels = batches.annotated.labels[drawn][:, [TASKS.index(task) for task in plan.tasks]]
            if stage.mask_supervision:
                masks = batches.annotated.masks_or_unknown(drawn[part].tolist(), indicators_of(plan.tasks))
        if stage.adversarial is not None:
            count = stage.adversarial.batch
            drawn = torch.randint(len(batches.unlabelled), (count,), generator=generator)
            part = batches.share.of(count, "adversarial.batch")
            adversarial = batches.unlabelled.images(drawn[part].tolist())
        segmentation = []
        for _ in range(stage.segmentation_repeats if stage.segmentation_batch and plan.localised else 0):
            indicator = plan.indicator(iteration)
            chosen = batches.draw_segmentation(stage, indicator, generator)
            chosen = chosen[batches.share.of(len(chosen), "segmentation_batch")]
            segmentation.append(batches.segmented(chosen, indicator))
        return Material(contrastive, classification, labels, masks, adversarial, segmentation)


def _rarity(labels: Tensor, balance: float) -> Tensor:
    """(Negatives / positives) ** balance of each image's rarest finding here, at least 1, shape (N)."""
    rarity = _positive_weights(labels, math.inf) ** balance
    return torch.where(labels == 1, rarity, torch.ones(())).amax(1)


def _positive_weights(labels: Tensor, limit: float) -> Tensor:
    """Negatives per positive of each label column, between 1 and limit, shape (T)."""
    positives = (labels == 1).sum(0)
    negatives = (labels == 0).sum(0)
    return (negatives / positives.clamp_min(1)).clamp(1.0, limit)
