"""What is trained on an encoder beside f_Seg: f_Res, its masks, and f_CLR."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.encoders import POOLED_SKIPS, Encoder

RARE: Final = -3.0
"""Mask logit of every place before training: indicators fill a small part of a photograph."""


class ProjectionHead(nn.Sequential):
    """SimCLR's head P1: two fully connected layers down to 128 dimensions."""

    def __init__(self, features: int) -> None:
        super().__init__(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, 128))


class MaskHead(nn.Module):
    """Masks by the classification head's own weights: what it says of each place, not of their mean.

    A loss on them teaches an encoder where an indicator is, and the heatmaps of its logit, which follow these
    weights, to show it. Training alone has this head: a prediction's masks are f_Seg's.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, 2016, arXiv:1512.04150 (class
    activation maps); Long et al., Fully Convolutional Networks, 2015, arXiv:1411.4038 (scores of three sizes)
    """

    def __init__(self, skip_channels: tuple[int, ...], indicators: int) -> None:
        """Build the head.

        Args:
            skip_channels: Channels of the encoder's five skips, finest first.
            indicators: Number J of indicators.
        """
        super().__init__()
        self.channels = skip_channels[POOLED_SKIPS]
        self.gain = nn.Parameter(torch.ones(indicators))
        self.offset = nn.Parameter(torch.full((indicators,), RARE))

    def forward(self, skips: list[Tensor], weight: Tensor) -> Tensor:
        """Score each place.

        Args:
            skips: The encoder's five, finest first.
            weight: Classification head's weights of the indicators, shape (J, D).

        Returns:
            Mask logits, shape (N, J, H / 8, W / 8).
        """
        of_skips = weight[:, -sum(self.channels) :].split(self.channels, dim=1)  # type: ignore[no-untyped-call]
        finest, *coarser = [
            functional.conv2d(skip, part[:, :, None, None])
            for skip, part in zip(skips[POOLED_SKIPS], of_skips, strict=True)
        ]
        size = finest.shape[-2:]
        for part in coarser:
            finest = finest + functional.interpolate(part, size=size, mode="bilinear", align_corners=False)
        return self.gain[:, None, None] * finest + self.offset[:, None, None]


class Classifier(nn.Module):
    """f_Res: an encoder and a linear layer over its features."""

    def __init__(self, encoder: Encoder, classification_head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.classification_head = classification_head

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, shape (N, T), of normalised pixels (N, 3, H, W)."""
        return self.classification_head(self.encoder(pixels).features)  # type: ignore[no-any-return]


class SupervisedClassifier(Classifier):
    """f_Res with masks beside its logits."""

    def __init__(
        self, encoder: Encoder, classification_head: nn.Linear, mask_head: MaskHead, indicators: Sequence[int]
    ) -> None:
        """Put the parts together.

        Args:
            encoder: Encoder of images, with `skip_features`.
            classification_head: From its features to logits.
            mask_head: From its skips to masks.
            indicators: Indices of the J logits that have masks.
        """
        super().__init__(encoder, classification_head)
        self.mask_head = mask_head
        self.indicators = list(indicators)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, then mask logits row by row, shape (N, T + J * H / 8 * W / 8), of pixels (N, 3, H, W)."""
        encoding = self.encoder(pixels)
        masks = self.mask_head(encoding.skips, self.classification_head.weight[self.indicators])
        return torch.cat([self.classification_head(encoding.features), masks.flatten(1)], dim=1)


class Projection(nn.Module):
    """f_CLR: an encoder and SimCLR's projection head."""

    def __init__(self, encoder: Encoder, projection_head: ProjectionHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection_head = projection_head

    def forward(self, pixels: Tensor) -> Tensor:
        """Contrastive embeddings, shape (N, 128), of normalised pixels (N, 3, H, W)."""
        return self.projection_head(self.encoder(pixels).features)  # type: ignore[no-any-return]
