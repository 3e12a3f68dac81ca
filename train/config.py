"""One TOML file describes one training run."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the file; keys that mean nothing here are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TableColumns(Section):
    """Which column of a label table holds what; a table need not have them all."""

    image: str = "image"
    """Image id: the file name without its ending."""
    lesion: str | None = None
    """Lesion id: images of one lesion stay on one side of the split."""
    diagnosis: str | None = None
    """Diagnosis, as a word or a 0/1 flag."""
    melanoma_values: tuple[str, ...] = ("1", "1.0", "mel", "melanoma")
    """Values of the diagnosis column that mean melanoma; an empty cell means unknown."""
    indicators: bool = False
    """Whether the table has a 0/1 presence column for each indicator, named like it."""


class DataSource(Section):
    """One data set on disk. Paths are relative to the data root."""

    name: str
    layout: Literal["isic2018_task2", "isic2019", "table"]
    images: Path
    table: Path | None = None
    """Label table (CSV): diagnosis for isic2018_task2, ground truth for isic2019, any labels for table."""
    masks: Path | None = None
    """Folder of <image>_attribute_<indicator>.png; isic2018_task2 only."""
    columns: TableColumns = TableColumns()
    validation: Fraction = 0.1
    """Part of the lesions that validates."""
    test: Fraction = 0.0
    """Part of the lesions that is held out."""
    validates: bool = True
    """Whether its validation images count in scores and operating points; turn off for rendered images."""
    weight: float = Field(default=1.0, ge=0)
    """How often an image of this source is drawn for f_Res, relative to other sources."""

    @model_validator(mode="after")
    def _check(self) -> "DataSource":
        if self.validation + self.test > 1:
            raise ValueError(f"{self.name}: validation + test is {self.validation + self.test}, more than 1")
        if self.layout == "isic2018_task2" and self.masks is None:
            raise ValueError(f"{self.name}: layout isic2018_task2 needs `masks`, the ground truth folder")
        if self.layout in ("isic2019", "table") and self.table is None:
            raise ValueError(f"{self.name}: layout {self.layout} needs `table`, a CSV file")
        return self


class DataConfig(Section):
    """Dataset A (labels, masks) and Dataset B (contrastive learning)."""

    annotated: tuple[DataSource, ...]
    """Dataset A. An image id or lesion that several sources share takes the split side of the first."""
    unlabelled: tuple[DataSource, ...] = ()
    """Dataset B; labels are not read, and images of Dataset A's validation and test sides are left out."""
    cache: bool = True
    """Keep decoded images in memory; turn off where they do not fit."""


class ModelConfig(Section):
    """Topology."""

    name: str = "bio-u-net"
    base_width: int = Field(default=64, ge=4)
    image_size_px: int = Field(default=512, ge=64, multiple_of=32)
    heatmap_size_px: int = Field(default=512, ge=32, multiple_of=32)


class OptimizerConfig(Section):
    """Adam; one optimizer for each subnetwork."""

    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over a stage; cosine falls to 1 % of it."""


class StageConfig(Section):
    """One stage of training: how long, and which of the three updates an iteration makes."""

    epochs: int = Field(ge=0)
    iterations: int = Field(ge=1)
    """Iterations in an epoch; checkpoint and validation follow each epoch."""
    contrastive_batch: int = Field(default=24, ge=0)
    """Images of an f_CLR update; 0 leaves f_CLR out."""
    classification_batch: int = Field(default=16, ge=0)
    """Images of an f_Res update; 0 leaves f_Res out."""
    segmentation_batch: int = Field(default=8, ge=0)
    """Images of an f_Seg update; 0 leaves f_Seg out."""
    segmentation_repeats: int = Field(default=1, ge=1)
    """f_Seg updates in an iteration."""
    augment: bool = False
    """Rotate, flip and scale the images of f_Res; the paper does not."""
    optimizer: OptimizerConfig = OptimizerConfig()


class TrainConfig(Section):
    """A whole run: initial weights, the stages, Algorithm 1, fusion."""

    seed: int = Field(ge=0)
    model: ModelConfig = ModelConfig()
    data: DataConfig
    initial_weights: Literal["imagenet", "random"] = "imagenet"
    contrastive_temperature: float = Field(default=0.5, gt=0)
    positive_weight_limit: float = Field(default=1.0, ge=1)
    """Positives of a task weigh negatives / positives, at most this; 1 weighs all labels alike."""
    pretrain: tuple[StageConfig, ...] = ()
    """Stages that train one encoder over all tasks before it is copied to the five; no f_Seg."""
    indicator: StageConfig
    """Algorithm 1, once for each indicator."""
    fusion_regularisation: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Candidates for C of the logistic regression; the best on validation images is taken."""
    notice: str | None = None
    """Sentence that the exported bundle shows once a run."""
    licence: str = "unspecified"
    """Licence of the trained weights."""

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if any(stage.segmentation_batch for stage in self.pretrain):
            raise ValueError("pretrain stages have no mask to learn: set their segmentation_batch to 0")
        return self


def load_config(path: Path) -> TrainConfig:
    """Read and validate a run's TOML file.

    Raises:
        InputError: If the file is missing, not TOML or does not fit; the message names the key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return TrainConfig.model_validate(content)
    except FileNotFoundError as error:
        raise InputError(f"no configuration at {path}; configs/ holds examples") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{path} does not describe a run: {places}") from error


TASKS = (*INDICATORS, "melanoma")
"""Order of the label columns."""
