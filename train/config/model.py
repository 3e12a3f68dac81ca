"""The network of a run: its encoders, their tasks and its sizes."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from biounet_edge.indicators import INDICATORS
from train.config.section import Section
from train.encoders import FAMILIES, Family
from train.network import NetworkConfig
from train.tasks import MELANOMA, ONE_ENCODER_EACH, TASKS


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; the tasks are {', '.join(TASKS)}")
    return name


def _known_indicator(name: str) -> str:
    if name not in INDICATORS:
        raise ValueError(f"no indicator {name!r}; the indicators are {', '.join(INDICATORS)}")
    return name


Task = Annotated[str, AfterValidator(_known_task)]
Indicator = Annotated[str, AfterValidator(_known_indicator)]


class ModelConfig(Section):
    """Topology."""

    name: str = "bio-u-net"
    family: Family = "resnet50"
    """Topology of the encoders."""
    base_width: int = Field(default=64, ge=4)
    """Channels of the encoder's stem; efficientnet_lite0 has 32."""
    decoder_width: int | None = Field(default=None, ge=16)
    """Channels of the U-Net decoder's first block; None for 4 base_width."""
    skip_features: bool = False
    """Whether the means of the skips at 1/8, 1/16 and 1/32 are features, too: heatmaps follow each place."""
    familiarity_axes: int = Field(default=0, ge=0)
    """Axes of the score of familiarity, which is fitted at the end of a run; 0 for none: the model then gives
    any picture a diagnosis."""
    image_size_px: int = Field(default=512, ge=64, multiple_of=32)
    heatmap_size_px: int = Field(default=512, ge=32, multiple_of=32)
    encoders: tuple[tuple[Task, ...], ...] = ONE_ENCODER_EACH
    """Tasks of each encoder; an indicator is localised by the encoder whose list it leads, else by the first
    that has it. The paper's choice is five encoders, each with its indicator and melanoma; Table 5 varies
    it."""

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        widths = FAMILIES[self.family].WIDTHS
        if widths is not None and self.base_width not in widths:
            raise ValueError(
                f"{self.family} has base_width {' or '.join(map(str, widths))}, not {self.base_width}; set it"
            )
        if any(set(tasks) <= {MELANOMA} or len(set(tasks)) != len(tasks) for tasks in self.encoders):
            raise ValueError("every encoder needs at least one indicator, and each task once")
        if len({frozenset(tasks) - {MELANOMA} for tasks in self.encoders}) != len(self.encoders):
            raise ValueError("two encoders have the same indicators; remove one")
        missing = [name for name in INDICATORS if not any(name in tasks for tasks in self.encoders)]
        if missing:
            raise ValueError(f"no encoder predicts {', '.join(missing)}; add an encoder with it")
        return self

    @property
    def network(self) -> NetworkConfig:
        """The topology alone."""
        return NetworkConfig(
            self.base_width,
            self.image_size_px,
            self.heatmap_size_px,
            self.encoders,
            self.family,
            self.decoder_width,
            self.skip_features,
            self.familiarity_axes,
        )
