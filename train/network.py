"""Bio-U-Net: encoders with their explanations, and the fusion head over them.

    pixels ──> encoder ──> features ──> classification head ──> logits (indicator, melanoma)
                  │            └──────> (all of them) fusion head ──> diagnosis
                  └─ Grad-CAM of the indicator's logit ──> 12 heatmaps
    12 heatmaps ──> heatmap encoder (the encoder's own convolutions) ──> U-Net decoder ──> mask

Bio-U-Net has one encoder for each indicator; the multi-task models of the paper's Table 5 have fewer, or
other tasks, and are the same classes with other `encoders`.

The encoders are in `train/encoders`, one file for each family.

Source: the Bio-U-Net paper, sections 4.1 to 4.4; U-Net from Ronneberger et al. 2015, arXiv:1505.04597.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from biounet_edge.indicators import INDICATORS
from train.encoders import FAMILIES, HEATMAPS, POOLED_SKIPS, Encoder, Family, share_convolutions
from train.familiarity import Familiarity
from train.heads import MaskHead, ProjectionHead
from train.tasks import ONE_ENCODER_EACH, encoder_name, indicators_of


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that fixes the topology of a Bio-U-Net."""

    base_width: int = 64
    """Channels of the encoder's stem; 64 is ResNet-50, smaller is the same topology with narrower layers."""
    image_size_px: int = 512
    """Height and width of the input."""
    heatmap_size_px: int = 256
    """Height and width that f_Seg works at: 22 GFLOPs at 256, 89 at 512, with like cDC (docs/study)."""
    encoders: tuple[tuple[str, ...], ...] = ONE_ENCODER_EACH
    """Tasks of each encoder, in the order of its logits."""
    family: Family = "resnet50"
    """Topology of the encoders."""
    decoder_width: int | None = None
    """Channels of the U-Net decoder's first block, halved by each next one; None for 4 base_width."""
    skip_features: bool = False
    """Whether the means of the skips at 1/8, 1/16 and 1/32 are features beside the pooled output. Logits then
    depend on each place of these skips directly, and so do their heatmaps. The paper has none."""
    familiarity_axes: int = 0
    """Axes K of the score of familiarity; 0 for a model that cannot judge what it is shown."""

    def owner(self, indicator: str) -> int:
        """Index of the encoder that localises an indicator: the one it leads, else the first that has it."""
        leading = [i for i, tasks in enumerate(self.encoders) if tasks[0] == indicator]
        having = [i for i, tasks in enumerate(self.encoders) if indicator in tasks]
        return (leading or having)[0]

    def localised(self, encoder: int) -> tuple[str, ...]:
        """Indicators that an encoder localises, in the order of INDICATORS."""
        named = [name for name in INDICATORS if any(name in tasks for tasks in self.encoders)]
        return tuple(indicator for indicator in named if self.owner(indicator) == encoder)

    @property
    def features(self) -> int:
        """Length D of an encoder's feature vector."""
        pooled = FAMILIES[self.family].features(self.base_width)
        return pooled + (sum(self.skip_channels[POOLED_SKIPS]) if self.skip_features else 0)

    @property
    def skip_channels(self) -> tuple[int, ...]:
        """Channels of an encoder's five skips, finest first."""
        return FAMILIES[self.family].skip_channels(self.base_width)

    def make_encoder(self, channels_in: int, *, pooled: bool = True) -> Encoder:
        """Build an encoder of the family with random weights; see `Encoder.__init__`."""
        encoder = FAMILIES[self.family](channels_in, self.base_width, pooled=pooled)
        encoder.skip_features = pooled and self.skip_features
        return encoder

    def make_decoder(self) -> "Decoder":
        """Build the decoder that goes with the encoder."""
        return Decoder(self.skip_channels, self.decoder_width or 4 * self.base_width)


class DecoderBlock(nn.Module):
    """Upsample by two, join the skip, convolve twice."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in + channels_skip, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Features (N, channels_out, 2h, 2w) of features (N, channels_in, h, w) and a skip (2h, 2w)."""
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))


class Decoder(nn.Module):
    """U-Net decoder that mirrors the encoder: 256, 128, 64, 32, 16 channels at the paper's size."""

    def __init__(self, skip_channels: tuple[int, ...], width: int) -> None:
        """Build the decoder.

        Args:
            skip_channels: Channels of the encoder's skips, finest first.
            width: Channels of the first block.
        """
        super().__init__()
        deepest, *joined = reversed(skip_channels)
        channels = [deepest] + [max(1, width // 2**stage) for stage in range(5)]
        self.blocks = nn.ModuleList(
            DecoderBlock(channels[stage], skip, channels[stage + 1])
            for stage, skip in enumerate([*joined, 0])
        )
        self.segmentation_head = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, skips: list[Tensor]) -> Tensor:
        """Mask logits, shape (N, 1, H, W), from the five skips of the heatmap encoder, finest first."""
        x, *rest = reversed(skips)
        for block, skip in zip(self.blocks, [*rest, None], strict=True):
            x = block(x, skip)
        return self.segmentation_head(x)  # type: ignore[no-any-return]


class HeatmapPath(nn.Module):
    """f_Seg: the U-Net over the heatmaps."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = config.make_encoder(HEATMAPS, pooled=False)
        self.decoder = config.make_decoder()
        self.image_size_px = config.image_size_px

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Mask logits, shape (N, H, W), of 12 heatmaps (N, 12, Hs, Ws) in [0, 1]."""
        logits = self.decoder(self.encoder(heatmaps).skips)
        size = (self.image_size_px, self.image_size_px)
        if logits.shape[-2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits[:, 0]  # type: ignore[no-any-return]


class IndicatorNetwork(nn.Module):
    """One encoder with the subnetworks that train on it: f_CLR, f_Res and f_Seg share its convolutions."""

    def __init__(
        self, config: NetworkConfig, tasks: tuple[str, ...], localised: tuple[str, ...] | None = None
    ) -> None:
        """Build the network.

        Args:
            config: Topology.
            tasks: Names of the logits in order; the paper's choice is one indicator and melanoma.
            localised: Tasks that have a heatmap path of their own; None for the first alone.
        """
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.localised = tasks[:1] if localised is None else localised
        self.encoder = config.make_encoder(3)
        self._frozen_blocks = 0
        self.classification_head = nn.Linear(config.features, len(tasks))
        self.projection_head = ProjectionHead(config.features)
        self.heatmap_paths = nn.ModuleDict({task: HeatmapPath(config) for task in self.localised})
        for task in self.localised:
            share_convolutions(self.encoder, self.heatmap_path(task).encoder)
        self.mask_head = (
            MaskHead(config.skip_channels, len(self.indicators)) if config.skip_features else None
        )

    @property
    def indicators(self) -> tuple[str, ...]:
        """The tasks that have masks."""
        return indicators_of(self.tasks)

    def freeze(self, blocks: int) -> None:
        """Let the stem and the first blocks keep their weights and batch norm while the rest is trained."""
        self._frozen_blocks = blocks
        for module in self.encoder.first(blocks):
            module.requires_grad_(False)
            module.eval()

    def train(self, mode: bool = True) -> "IndicatorNetwork":
        """Switch to training mode, but for what is frozen."""
        super().train(mode)
        for module in self.encoder.first(self._frozen_blocks):
            module.eval()
        return self

    def heatmap_path(self, task: str) -> HeatmapPath:
        """f_Seg of one task."""
        return self.heatmap_paths[task]  # type: ignore[return-value]

    def classify(self, pixels: Tensor) -> Tensor:
        """f_Res: logits, shape (N, T), of normalised pixels (N, 3, H, W)."""
        return self.classification_head(self.encoder(pixels).features)  # type: ignore[no-any-return]

    def segment(self, heatmaps: Tensor, task: str) -> Tensor:
        """f_Seg: mask logits, shape (N, H, W), of a task's 12 heatmaps (N, 12, Hs, Ws) in [0, 1]."""
        return self.heatmap_path(task)(heatmaps)  # type: ignore[no-any-return]


class FusionHead(nn.Module):
    """Linear diagnosis over the five encoders' features, split into what each encoder adds.

    A logistic regression on standardised features; the standardisation is folded into `weight` and `offset`,
    so that each contribution is measured against the average training image.
    """

    def __init__(self, features: int, encoders: int = len(INDICATORS)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(encoders, features))
        self.offset = nn.Parameter(torch.zeros(encoders))
        self.bias = nn.Parameter(torch.zeros(()))
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Diagnose.

        Args:
            features: One feature vector per encoder, shape (N, J, D).

        Returns:
            Melanoma probability, shape (N), and contributions in log-odds, shape (N, J); contributions and
            bias sum to the logit, and the probability is sigmoid(logit / temperature).
        """
        contributions = torch.einsum("njd,jd->nj", features, self.weight) + self.offset
        logit = contributions.sum(1) + self.bias
        return torch.sigmoid(logit / self.temperature), contributions


class BioUNet(nn.Module):
    """The indicator networks and the fusion head over their encoders."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.networks = nn.ModuleDict(
            {
                encoder_name(tasks): IndicatorNetwork(config, tasks, config.localised(index))
                for index, tasks in enumerate(config.encoders)
            }
        )
        self.fusion_head = FusionHead(config.features, len(config.encoders))
        axes = config.familiarity_axes
        self.familiarity = Familiarity(config.features, axes) if axes else None

    def network(self, indicator: str) -> IndicatorNetwork:
        """The network that localises an indicator."""
        return self.networks[encoder_name(self.config.encoders[self.config.owner(indicator)])]  # type: ignore[return-value]

    def all_networks(self) -> list[IndicatorNetwork]:
        """In the order of the encoders."""
        return list(self.networks.values())  # type: ignore[arg-type]
