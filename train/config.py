"""One TOML file describes one training run."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.network import MELANOMA, ONE_ENCODER_EACH, NetworkConfig


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; the tasks are {', '.join(TASKS)}")
    return name


TASKS = (*INDICATORS, MELANOMA)
"""Order of the label columns."""

Task = Annotated[str, AfterValidator(_known_task)]
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
    """Whether the labels of its validation images count in scores, temperatures and operating points; turn
    off for rendered images. Masks count in any case."""
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
    split_seed: int = Field(default=0, ge=0)
    """Draws the split; apart from the run's seed, so that runs of several seeds share their test images."""
    cache: bool = True
    """Keep decoded images in memory; turn off where they do not fit."""


class ModelConfig(Section):
    """Topology."""

    name: str = "bio-u-net"
    base_width: int = Field(default=64, ge=4)
    image_size_px: int = Field(default=512, ge=64, multiple_of=32)
    heatmap_size_px: int = Field(default=512, ge=32, multiple_of=32)
    encoders: tuple[tuple[Task, ...], ...] = ONE_ENCODER_EACH
    """Tasks of each encoder; an indicator is localised by the encoder whose list it leads, else by the first
    that has it. The paper's choice is five encoders, each with its indicator and melanoma; Table 5 varies
    it."""

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
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
        return NetworkConfig(self.base_width, self.image_size_px, self.heatmap_size_px, self.encoders)


class OptimizerConfig(Section):
    """Adam; one optimizer for each subnetwork."""

    learning_rate: float = Field(default=1e-4, gt=0)
    encoder_learning_rate: float | None = Field(default=None, gt=0)
    """Of the encoder, where it is not that of heads, heatmap path and decoder: a trained encoder moves slowly
    while a new decoder learns fast."""
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over a stage; cosine falls to 1 % of it."""


class AdversarialConfig(Section):
    """Virtual adversarial training, added to f_Res."""

    batch: int = Field(default=16, ge=1)
    """Images of Dataset B in an update."""
    weight: float = Field(default=1.0, ge=0)
    """Of the virtual adversarial loss beside the BCE."""
    epsilon: float = Field(default=2.0, gt=0)
    """L2 norm of the perturbation, in normalised pixels."""
    xi: float = Field(default=1e-2, gt=0)
    """Step of the finite difference that looks for its direction."""
    power_iterations: int = Field(default=1, ge=1)
    """Steps of the power iteration; Miyato et al. need one."""


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
    adversarial: AdversarialConfig | None = None
    """Virtual adversarial loss in the f_Res update; none in Bio-U-Net."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation score after which the stage ends; None trains all epochs."""
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _check(self) -> "StageConfig":
        if self.contrastive_batch == 1:
            raise ValueError("f_CLR needs negatives: set contrastive_batch to at least 2, or to 0")
        if self.adversarial is not None and not self.classification_batch:
            raise ValueError("the virtual adversarial loss is part of f_Res; set classification_batch")
        return self


class TrainConfig(Section):
    """A whole run: initial weights, the stages, Algorithm 1, fusion."""

    row: str | None = None
    """Row of the paper's tables that this run fills, a key of train/tables/rows.py; None for none."""
    seed: int = Field(ge=0)
    model: ModelConfig = ModelConfig()
    data: DataConfig
    initial_weights: str = "imagenet"
    """`imagenet` (torchvision downloads them), `random`, or a file, relative to this one: torchvision's
    ResNet-50 weights (.pth, .safetensors) for a machine without network, or a pretraining stage of a run."""
    contrastive_temperature: float = Field(default=0.5, gt=0)
    positive_weight_limit: float = Field(default=1.0, ge=1)
    """Positives of a task weigh negatives / positives, at most this; 1 weighs all labels alike."""
    pretrain: tuple[StageConfig, ...] = ()
    """Stages that train one encoder over all tasks before it is copied to the five; no f_Seg."""
    indicator: StageConfig
    """Algorithm 1, once for each indicator."""
    fusion_regularisation: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1
    )
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

    A file may begin with `extends = "other.toml"`, relative to itself: its tables are then merged into that
    file's, key by key; lists are replaced.

    Raises:
        InputError: If a file is missing, not TOML or does not fit; the message names the key.
    """
    content = _read(path)
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{path} does not describe a run: {places}") from error


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
