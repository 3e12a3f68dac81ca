"""What the rest of the code knows of an encoder, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

HEATMAPS: Final = 12
"""Blocks that Grad-CAM explains, B."""


STEM_SKIP: Final = -1
"""In `Encoder.SKIPS`: the stem's output."""

POOLED_SKIPS: Final = slice(2, None)
"""Skips that are features where an encoder has `skip_features`: those at 1/8, 1/16 and 1/32."""

MASK_STRIDE: Final = 8
"""Pixels of the input for one place of the finest of them."""


@dataclass(frozen=True)
class TrunkOutput:
    """What the first blocks of an encoder compute."""

    x: Tensor
    """Output of the last of them, shape (N, C, h, w)."""
    skips: list[Tensor]
    """Skips so far, finest first."""


@dataclass(frozen=True)
class Encoding:
    """What an encoder computes from a batch."""

    features: Tensor
    """Pooled output, and pooled skips behind it where the encoder has `skip_features`, shape (N, D)."""
    skips: list[Tensor]
    """Outputs at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input size."""
    activations: list[Tensor]
    """Outputs of the 12 blocks that Grad-CAM explains, first to last."""


class Encoder(nn.Module, ABC):
    """A stem, a row of blocks, twelve of them explained, skips at five sizes, and a feature vector."""

    STEM: ClassVar[str]
    """Name of the stem's convolution, the one layer that depends on the number of input channels."""
    BLOCKS: ClassVar[int]
    """How many blocks there are."""
    IMAGENET_WIDTH: ClassVar[int]
    """Base width that the ImageNet weights have."""
    EXPLAINED: ClassVar[tuple[int, ...]]
    """Indices of the blocks with a heatmap, HEATMAPS of them."""
    SKIPS: ClassVar[tuple[int, ...]]
    """Indices of the blocks whose outputs are the skips, finest first; STEM_SKIP is the stem."""
    WIDTHS: ClassVar[tuple[int, ...] | None]
    """Base widths that exist; None for any."""

    @abstractmethod
    def __init__(self, channels_in: int, base_width: int, *, pooled: bool = True) -> None:
        """Build the encoder with random weights.

        Args:
            channels_in: 3 for photographs, 12 for heatmaps.
            base_width: Channels of the stem.
            pooled: Whether the features are wanted; without them, layers after the last skip are left out.
        """
        super().__init__()
        self.skip_features = False
        """Whether the means of the later skips are features too."""

    @staticmethod
    @abstractmethod
    def features(base_width: int) -> int:
        """Length D of the feature vector, without skips."""

    @staticmethod
    @abstractmethod
    def skip_channels(base_width: int) -> tuple[int, ...]:
        """Channels of the five skips, finest first."""

    @staticmethod
    @abstractmethod
    def read_imagenet() -> Mapping[str, Tensor]:
        """Return ImageNet weights under this module's names, without the classifier.

        Raises:
            InputError: If they are not available on this machine; the message says how to get them.
        """

    @abstractmethod
    def stem(self) -> list[nn.Module]:
        """Return the layers before the first block."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the blocks, finest first."""

    @abstractmethod
    def stem_output(self, x: Tensor) -> Tensor:
        """Return the stem's output, shape (N, C, H / 2, W / 2)."""

    def enter(self, x: Tensor) -> Tensor:
        """Return what the first block reads, of the stem's output."""
        return x

    def pool(self, x: Tensor) -> Tensor:
        """Return features (N, D) of the last block's output (N, C, h, w)."""
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Encoding:
        """Encode normalised images, or heatmaps, of shape (N, channels_in, H, W)."""
        x = self.stem_output(x)
        skips, activations = [x] if STEM_SKIP in self.SKIPS else [], []
        x = self.enter(x)
        for index, block in enumerate(self.blocks()):
            x = block(x)
            if index in self.EXPLAINED:
                activations.append(x)
            if index in self.SKIPS:
                skips.append(x)
        return Encoding(self._features(x, skips), skips, activations)

    def _features(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Features (N, D) of the last block's output and the skips."""
        pooled = self.pool(x)
        if not self.skip_features:
            return pooled
        return torch.cat([pooled, *(skip.mean((2, 3)) for skip in skips[POOLED_SKIPS])], dim=1)

    def trunk(self, x: Tensor, blocks: int) -> TrunkOutput:
        """Return what the first blocks give of images (N, channels_in, H, W)."""
        x = self.stem_output(x)
        skips = [x] if STEM_SKIP in self.SKIPS else []
        return self._go_on(TrunkOutput(self.enter(x), skips), 0, blocks)

    def crown(self, trunk: TrunkOutput, blocks: int) -> Tensor:
        """Return features (N, D) of what `trunk` gave for so many blocks."""
        end = self._go_on(trunk, blocks, self.BLOCKS)
        return self._features(end.x, end.skips)

    def _go_on(self, begun: TrunkOutput, first: int, end: int) -> TrunkOutput:
        x, skips = begun.x, list(begun.skips)
        for index, block in enumerate(self.blocks()[first:end], first):
            x = block(x)
            if index in self.SKIPS:
                skips.append(x)
        return TrunkOutput(x, skips)

    def first(self, blocks: int) -> list[nn.Module]:
        """Return the stem and the first blocks; nothing for no blocks."""
        return [*self.stem(), *self.blocks()[:blocks]] if blocks else []


def initialise_convolutions(encoder: Encoder) -> None:
    """Give every convolution He's random weights, of fan out; a group's outputs alone count in it.

    Source: He et al., Delving Deep into Rectifiers, 2015, arXiv:1502.01852, equation 14
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                module.weight.mul_(module.groups**0.5)  # PyTorch counts the outputs of all groups


def share_convolutions(source: Encoder, target: Encoder) -> None:
    """Make the blocks of target use the very convolution weights of source; stem and batch norm stay its own.

    Heatmaps and photographs have different statistics, so the heatmap path keeps its own normalisation.
    """
    own = dict(source.named_modules())
    for name, module in target.named_modules():
        if isinstance(module, nn.Conv2d) and name != target.STEM:
            module.weight = own[name].weight


def count_common_blocks(encoders: Sequence[Encoder]) -> int:
    """Count the first blocks that are equal in all encoders, with their batch norm.

    Args:
        encoders: Encoders of one family and width.

    Returns:
        Number of blocks; 0 where not even the stems are equal.
    """
    if not _are_equal([nn.ModuleList(encoder.stem()) for encoder in encoders]):
        return 0
    rows = zip(*(encoder.blocks() for encoder in encoders), strict=True)
    return len(list(takewhile(_are_equal, rows)))


def _are_equal(modules: Sequence[nn.Module]) -> bool:
    """Whether modules of one architecture compute the same; counters of batches do not matter."""
    first, *others = (module.state_dict() for module in modules)
    names = [name for name in first if not name.endswith("num_batches_tracked")]
    return all(torch.equal(first[name], other[name]) for other in others for name in names)
