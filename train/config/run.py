"""One TOML file describes one training run."""

import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import Field, ValidationError, model_validator

from biounet_edge.errors import InputError
from train.config.data import DataConfig
from train.config.model import Indicator, ModelConfig
from train.config.section import Section, describe_problems
from train.config.stages import StageConfig
from train.encoders import FAMILIES


class TrainConfig(Section):
    """A whole run: initial weights, the stages, Algorithm 1, fusion."""

    row: str | None = None
    """Row of the paper's tables that this run fills, a key of train/tables/rows.py; None for none."""
    seed: int = Field(ge=0)
    model: ModelConfig = ModelConfig()
    data: DataConfig
    initial_weights: str = "imagenet"
    """`imagenet` (torchvision downloads ResNet-50's, a package holds EfficientNet-Lite0's), `random`, or a
    file, relative to this one: an encoder's weights (.pth, .safetensors; ResNet-50's with torchvision's
    names) for a machine without network, or a pretraining stage of a run. Layers that a file lacks stay
    random."""
    contrastive_temperature: float = Field(default=0.5, gt=0)
    positive_weight_limit: float = Field(default=1.0, ge=1)
    """Positives of a task weigh negatives / positives, at most this; 1 weighs all labels alike."""
    pretrain: tuple[StageConfig, ...] = ()
    """Stages that train one encoder over all tasks before it is copied to the five; no f_Seg."""
    soup: tuple[str, ...] = ()
    """Pretraining stages, such as `pretrain-2`, whose mean weights the five begin with; none for the last's.

    Source: Wortsman et al., Model soups, 2022, arXiv:2203.05482
    """
    indicator: StageConfig
    """Algorithm 1, once for each indicator."""
    segmentation: StageConfig | None = None
    """f_Seg alone, after Algorithm 1 and over its encoders, which stay as they are: each image's heatmaps
    are computed once. None where Algorithm 1 has f_Seg, or the model has none."""
    segmentation_starts: dict[Indicator, Indicator] = Field(default_factory=dict)
    """Whose f_Seg an indicator's own begins with in the stage `segmentation`, such as streaks with that of
    globules: how heatmaps become a mask is much the same for all, and few photographs have a mask of a rare
    one. The blocks stay those of its own encoder."""
    fusion_regularisation: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1
    )
    """Candidates for C of the logistic regression; the best on validation images is taken."""
    fusion_images: int | None = Field(default=None, ge=2)
    """Training images that the fusion head learns from, drawn by their sources' weights; None for all."""
    notice: str | None = None
    """Sentence that the exported bundle shows once a run."""
    licence: str = "unspecified"
    """Licence of the trained weights."""

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if any(stage.segmentation_batch for stage in self.pretrain):
            raise ValueError("pretrain stages have no mask to learn: set their segmentation_batch to 0")
        self._check_starts()
        sources = [source.name for source in self.data.annotated]
        unknown = sorted({name for stage in self.stages for name in stage.weights} - set(sources))
        if unknown:
            raise ValueError(
                f"a stage weights {', '.join(unknown)}, but data.annotated has {', '.join(sources)}; "
                "name one of these"
            )
        blocks = FAMILIES[self.model.family].BLOCKS
        if any(stage.frozen_blocks > blocks for stage in self.stages):
            raise ValueError(f"{self.model.family} has {blocks} blocks; freeze no more")
        if any(stage.mask_supervision for stage in self.stages) and not self.model.skip_features:
            raise ValueError("mask_supervision needs skip_features = true in `model`; set it")
        self._check_segmentation(blocks)
        return self

    def _check_segmentation(self, blocks: int) -> None:
        """Raise where the stage `segmentation` does not go with the rest."""
        alone = self.segmentation
        if self.segmentation_starts and alone is None:
            raise ValueError("segmentation_starts is about the stage `segmentation`; add it")
        try:
            self.order_segmentation()
        except CycleError as error:
            raise ValueError(
                "segmentation_starts goes round in a circle of encoders; let one f_Seg begin anew"
            ) from error
        if alone is not None:
            if self.indicator.segmentation_batch:
                raise ValueError("two stages train f_Seg; set segmentation_batch to 0 in `indicator`")
            if alone.contrastive_batch or alone.classification_batch or not alone.segmentation_batch:
                raise ValueError(
                    "the stage `segmentation` trains f_Seg alone; set contrastive_batch and "
                    "classification_batch to 0 and segmentation_batch to the images of an update"
                )
            if alone.frozen_blocks != blocks:
                raise ValueError(
                    f"the stage `segmentation` leaves the encoder as it is: set frozen_blocks = {blocks}"
                )

    def _check_starts(self) -> None:
        """Raise where a stage begins with weights that are not there yet, or nobody trains."""
        if any(stage.start for stage in (self.indicator, self.segmentation) if stage):
            raise ValueError("only pretraining stages have a `start`; the encoders begin with the soup")
        names = [f"pretrain-{number}" for number in range(1, len(self.pretrain) + 1)]
        for place, stage in enumerate(self.pretrain):
            if stage.start is not None and stage.start not in names[:place]:
                before = ", ".join(names[:place]) or "none"
                raise ValueError(f"{names[place]} starts with {stage.start}; the stages before it: {before}")
        unknown = sorted(set(self.soup) - set(names))
        if unknown:
            raise ValueError(f"soup names {', '.join(unknown)}; the stages are {', '.join(names) or 'none'}")

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """Every stage, in the order of training."""
        return (*self.pretrain, self.indicator, *([self.segmentation] if self.segmentation else []))

    def order_segmentation(self) -> list[int]:
        """Return encoders by index, each after those whose f_Seg its own begins with."""
        owner = self.model.network.owner
        order = TopologicalSorter({index: set[int]() for index in range(len(self.model.encoders))})
        for indicator, start in self.segmentation_starts.items():
            order.add(owner(indicator), owner(start))
        return list(order.static_order())

    @property
    def segments(self) -> bool:
        """Whether any stage trains f_Seg."""
        return any(stage.segmentation_batch for stage in self.stages)


def load_config(path: Path) -> TrainConfig:
    """Read and validate a run's TOML file.

    A file may begin with `extends = "other.toml"`, relative to itself: its tables are then merged into that
    file's, key by key; lists are replaced.

    Raises:
        InputError: If a file is missing, not TOML or does not fit; the message names the key.
    """
    content = _read(path)
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path} does not describe a run: {describe_problems(error)}") from error


def format_config(config: TrainConfig) -> str:
    """A configuration as TOML, whole: defaults written out, nothing extended."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in above:
        raise InputError(f"{path} extends itself, by way of {above[-1]}; name another file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no configuration at {path}; configs/ holds examples") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    if content.get("initial_weights", "random") not in ("imagenet", "random"):
        content["initial_weights"] = str((path.parent / content["initial_weights"]).resolve())
    if "extends" not in content:
        return content
    base = path.parent / content.pop("extends")
    return _merge(_read(base, (*above, path.resolve())), content)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in over.items()
    }
    return {**base, **both}
