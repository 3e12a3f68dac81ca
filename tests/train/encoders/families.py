"""What each encoder family gives at 64 pixels, and small encoders of it."""

from dataclasses import dataclass

import pytest
import torch

from train.encoders import FAMILIES, Encoder, Family
from train.network import NetworkConfig


@dataclass(frozen=True)
class Expected:
    """What a family gives at 64 pixels."""

    base_width: int
    features: int
    skips: tuple[tuple[int, int], ...]
    """Channels and height of each skip."""
    activations: tuple[tuple[int, int], ...]
    """Channels and height of each explained block."""


EXPECTED: dict[Family, Expected] = {
    # He et al., table 1, an eighth as wide: the last three bottlenecks of each stage.
    "resnet50": Expected(
        8,
        256,
        ((8, 32), (32, 16), (64, 8), (128, 4), (256, 2)),
        ((32, 16),) * 3 + ((64, 8),) * 3 + ((128, 4),) * 3 + ((256, 2),) * 3,
    ),
    # Tan and Le, table 1: blocks 1 and 2, 3 and 4, two of three twice, and the last four.
    "efficientnet_lite0": Expected(
        32,
        1280,
        ((16, 32), (24, 16), (40, 8), (112, 4), (320, 2)),
        ((24, 16),) * 2 + ((40, 8),) * 2 + ((80, 4),) * 2 + ((112, 4),) * 2 + ((192, 2),) * 3 + ((320, 2),),
    ),
}

families = pytest.mark.parametrize("family", FAMILIES)


def make(family: Family, channels_in: int = 3, *, pooled: bool = True, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return FAMILIES[family](channels_in, EXPECTED[family].base_width, pooled=pooled)


def config_of(family: Family) -> NetworkConfig:
    return NetworkConfig(EXPECTED[family].base_width, 64, 32, family=family, decoder_width=16)


def settled(family: Family) -> Encoder:
    """An encoder whose batch norm has seen noise, in evaluation mode."""
    encoder = make(family).train()
    with torch.no_grad():
        for _ in range(5):
            encoder(torch.randn(8, 3, 64, 64))
    return encoder.eval()
