"""ResNet-50, the paper's encoder, at any base width.

Source: He et al., Deep Residual Learning, 2016, arXiv:1512.03385; stride in a bottleneck's second convolution
and names of the weights as in torchvision
"""

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet50_Weights

from biounet_edge.errors import InputError
from train.encoders.encoder import HEATMAPS, STEM_SKIP, Encoder, initialise_convolutions

BOTTLENECKS: Final = (3, 4, 6, 3)
"""Bottlenecks in each of the four stages."""

HEATMAPS_PER_STAGE: Final = HEATMAPS // len(BOTTLENECKS)
"""The paper takes 3 heatmaps a stage, 12 in all; ours are those of each stage's last three bottlenecks."""


class Bottleneck(nn.Module):
    """ResNet's bottleneck, with torchvision's names so that its weights load."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = 4 * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels_out:
            shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 4 width, h / stride, w / stride) of features (N, channels_in, h, w)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return functional.relu(x + shortcut)


class ResNet50(Encoder):
    """ResNet-50 without its classifier."""

    STEM = "conv1"
    BLOCKS = sum(BOTTLENECKS)
    IMAGENET_WIDTH = 64
    EXPLAINED = tuple(
        sum(BOTTLENECKS[: stage + 1]) - HEATMAPS_PER_STAGE + index
        for stage in range(len(BOTTLENECKS))
        for index in range(HEATMAPS_PER_STAGE)
    )
    SKIPS = (STEM_SKIP, *(sum(BOTTLENECKS[: stage + 1]) - 1 for stage in range(len(BOTTLENECKS))))
    WIDTHS = None

    def __init__(self, channels_in: int = 3, base_width: int = 64, *, pooled: bool = True) -> None:
        super().__init__(channels_in, base_width, pooled=pooled)
        self.conv1 = nn.Conv2d(channels_in, base_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_width)
        channels = base_width
        for stage, count in enumerate(BOTTLENECKS):
            width = base_width * 2**stage
            blocks = [Bottleneck(channels, width, stride=1 if stage == 0 else 2)]
            channels = 4 * width
            blocks += [Bottleneck(channels, width, stride=1) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        initialise_convolutions(self)

    @staticmethod
    def features(base_width: int) -> int:
        """Length D of the feature vector."""
        return 32 * base_width

    @staticmethod
    def skip_channels(base_width: int) -> tuple[int, ...]:
        """Channels of the stem's and the stages' outputs."""
        return (base_width, *(4 * base_width * 2**stage for stage in range(len(BOTTLENECKS))))

    @staticmethod
    def read_imagenet() -> Mapping[str, Tensor]:
        """Return torchvision's weights, which it downloads once.

        Raises:
            InputError: If they cannot be downloaded.
        """
        try:
            weights = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=False)
        except OSError as error:
            raise InputError(
                f"torchvision could not download the ImageNet weights ({error}); connect to the network "
                f"once, or fetch {ResNet50_Weights.IMAGENET1K_V2.url} elsewhere and set initial_weights to "
                "the file"
            ) from error
        return {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}

    def stages(self) -> list[nn.Sequential]:
        """Return the four stages, finest first."""
        return [self.get_submodule(f"layer{stage + 1}") for stage in range(len(BOTTLENECKS))]  # type: ignore[misc]

    def stem(self) -> list[nn.Module]:
        """Return the layers before the first block."""
        return [self.conv1, self.bn1]

    def blocks(self) -> list[nn.Module]:
        """Return the 16 bottlenecks."""
        return [block for stage in self.stages() for block in stage]

    def stem_output(self, x: Tensor) -> Tensor:
        """Return the stem's output, shape (N, C, H / 2, W / 2)."""
        return functional.relu(self.bn1(self.conv1(x)))

    def enter(self, x: Tensor) -> Tensor:
        """Return the stem's output pooled by two, which the first block reads."""
        return functional.max_pool2d(x, 3, stride=2, padding=1)
