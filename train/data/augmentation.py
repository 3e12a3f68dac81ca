"""Augmentation on whole batches, each image with its own draw (kornia)."""

import torch
from kornia import augmentation
from torch import Tensor, nn

from train.data.dataset import MEAN, STD


def contrastive_augmentation(size_px: int) -> nn.Module:
    """T1 and T2 of f_CLR: rotation, scaling, cropping, flipping, brightness, contrast, saturation.

    Source: the paper, section 4.2 and A.3; crop scale and jitter strength from SimCLR, arXiv:2002.05709, A.
    """
    return nn.Sequential(
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomVerticalFlip(),
        augmentation.RandomAffine(degrees=180.0, padding_mode="reflection"),
        # From 0.25, not SimCLR's 0.08: a twelfth of a photograph often misses the lesion altogether.
        augmentation.RandomResizedCrop((size_px, size_px), scale=(0.25, 1.0), cropping_mode="resample"),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.0, p=0.8),
        augmentation.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def classification_augmentation() -> nn.Module:
    """Mild augmentation of f_Res: a lesion may lie anywhere, at any angle, under slightly different light."""
    return nn.Sequential(
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomVerticalFlip(),
        augmentation.RandomAffine(
            degrees=180.0, translate=(0.05, 0.05), scale=(0.8, 1.25), padding_mode="reflection"
        ),
        augmentation.ColorJitter(0.15, 0.15, 0.15, 0.0, p=0.8),
        augmentation.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def to_unit(images: Tensor) -> Tensor:
    """Images (N, H, W, 3) uint8 as (N, 3, H, W) float32 in [0, 1], what the augmentations take."""
    return images.movedim(-1, 1).float() / 255
