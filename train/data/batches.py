"""What an iteration of Algorithm 1 draws: contrastive views, labelled images, images with masks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from train.config import TASKS, StageConfig, TrainConfig
from train.data.augmentation import classification_augmentation, contrastive_augmentation, to_unit
from train.data.dataset import ImageSet, normalise


class Batches:
    """Draws batches from the training side. All chance comes from torch's global generator."""

    def __init__(self, config: TrainConfig, annotated: ImageSet, unlabelled: ImageSet) -> None:
        self.annotated = annotated
        self.unlabelled = unlabelled
        self._views = contrastive_augmentation(config.model.image_size_px)
        self._augment = classification_augmentation()
        self._weights = _draw_weights(config, annotated)
        self._positive_weight = _positive_weights(annotated.labels, config.positive_weight_limit)

    def contrastive(self, count: int) -> tuple[Tensor, Tensor]:
        """Two independently augmented views of the same images, each (N, 3, H, W), normalised."""
        drawn = torch.randint(len(self.unlabelled), (count,)).tolist()
        images = to_unit(self.unlabelled.images(drawn))
        return self._views(images), self._views(images)

    def classification(self, stage: StageConfig, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Normalised images (N, 3, H, W) and labels (N, T), NaN where unknown."""
        columns = [TASKS.index(task) for task in tasks]
        known = (~torch.isnan(self.annotated.labels[:, columns])).any(1)
        drawn = torch.multinomial(self._weights * known, stage.classification_batch, replacement=True)
        images = self.annotated.images(drawn.tolist())
        pixels = self._augment(to_unit(images)) if stage.augment else normalise(images)
        return pixels, self.annotated.labels[drawn][:, columns]

    def plain(self, count: int) -> Tensor:
        """Normalised images (N, 3, H, W), drawn like those of f_Res, not augmented."""
        drawn = torch.multinomial(self._weights, count, replacement=True)
        return normalise(self.annotated.images(drawn.tolist()))

    def positive_weight(self, tasks: Sequence[str]) -> Tensor:
        """Weight of the positives of each task, shape (T)."""
        return self._positive_weight[[TASKS.index(task) for task in tasks]]

    def segmentation(self, count: int, indicator: str) -> tuple[Tensor, Tensor]:
        """Normalised images (N, 3, H, W) and masks (N, H, W) of one indicator.

        Half of them have the indicator, as far as such images exist: rare indicators would otherwise give
        batches of empty masks.
        """
        present = self.annotated.with_filled_mask(indicator)
        known = self.annotated.indices_where(lambda r: indicator in r.masks)
        half = count // 2 if present else 0
        drawn = [present[i] for i in _draw(len(present), half)] + [
            known[i] for i in _draw(len(known), count - half)
        ]
        return normalise(self.annotated.images(drawn)), self.annotated.masks(drawn, indicator)


def _draw(length: int, count: int) -> list[int]:
    return torch.randint(length, (count,)).tolist() if count else []


def _draw_weights(config: TrainConfig, images: ImageSet) -> Tensor:
    """How often each image is drawn, relative to the others, shape (N)."""
    weight_of = {source.name: source.weight for source in config.data.annotated}
    return torch.tensor([weight_of[record.source] for record in images.records])


def _positive_weights(labels: Tensor, limit: float) -> Tensor:
    """Negatives per positive of each label column, between 1 and limit, shape (T)."""
    positives = (labels == 1).sum(0)
    negatives = (labels == 0).sum(0)
    return (negatives / positives.clamp_min(1)).clamp(1.0, limit)
