"""Encoder families: a further one is a file here and an entry below."""

from collections.abc import Mapping
from typing import Final, Literal

from train.encoders.efficientnet_lite0 import EfficientNetLite0
from train.encoders.encoder import (
    HEATMAPS,
    MASK_STRIDE,
    POOLED_SKIPS,
    Encoder,
    Encoding,
    count_common_blocks,
    share_convolutions,
)
from train.encoders.resnet50 import ResNet50

Family = Literal["resnet50", "efficientnet_lite0"]

FAMILIES: Final[Mapping[Family, type[Encoder]]] = {
    "resnet50": ResNet50,
    "efficientnet_lite0": EfficientNetLite0,
}

__all__ = [
    "FAMILIES",
    "HEATMAPS",
    "MASK_STRIDE",
    "POOLED_SKIPS",
    "Encoder",
    "Encoding",
    "Family",
    "count_common_blocks",
    "share_convolutions",
]
