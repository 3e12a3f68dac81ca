"""One TOML file describes one training run."""

import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.encoders import FAMILIES, Family
from train.network import MELANOMA, ONE_ENCODER_EACH, NetworkConfig


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; the tasks are {', '.join(TASKS)}")
    return name


def _known_indicator(name: str) -> str:
    if name not in INDICATORS:
        raise ValueError(f"no indicator {name!r}; the indicators are {', '.join(INDICATORS)}")
    return name


TASKS = (*INDICATORS, MELANOMA)
"""Order of the label columns."""

Task = Annotated[str, AfterValidator(_known_task)]
Indicator = Annotated[str, AfterValidator(_known_indicator)]
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
    stratify: Literal["melanoma", "findings"] = "melanoma"
    """What the sides have in proportion: melanomas alone, or each indicator too."""

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
    metadata: Path | None = None
    """CSV with a column `image` and any of `lesion_id`, `age`, `sex`, `site`: lesions for images whose own
    table names none, and the subgroups that a model is judged in."""
    split_seed: int = Field(default=0, ge=0)
    """Draws the split; apart from the run's seed, so that runs of several seeds share their test images."""
    cache: bool = True
    """Keep decoded images in memory; turn off where they do not fit."""


class ModelConfig(Section):
    """Topology."""

    name: str = "bio-u-net"
    family: Family = "resnet50"
    """Topology of the encoders."""
    base_width: int = Field(default=64, ge=4)
    """Channels of the encoder's stem; efficientnet_lite0 has 32."""
    decoder_width: int | None = Field(default=None, ge=16)
    """Channels of the U-Net decoder's first block; None for 4 base_width."""
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
        )


class OptimizerConfig(Section):
    """Adam; one optimizer for each subnetwork."""

    learning_rate: float = Field(default=1e-4, gt=0)
    encoder_learning_rate: float | None = Field(default=None, gt=0)
    """Of the encoder, where it is not that of heads, heatmap path and decoder: a trained encoder moves slowly
    while a new decoder learns fast."""
    weight_decay: float = Field(default=1e-4, ge=0)
    decoupled: bool = False
    """Decay the weights apart from the gradient: AdamW, arXiv:1711.05101."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    """Learning rate over a stage: cosine falls to 1 % of it, epoch by epoch; one_cycle rises over the first
    tenth of the iterations and falls to zero."""
    gradient_norm: float | None = Field(default=None, gt=0)
    """Largest norm of an update's gradient; longer ones are scaled to it. None for no limit."""


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

    start: str | None = None
    """Earlier pretraining stage whose weights this one begins with, `pretrain-1` the first; None for the one
    before. Of pretraining stages only."""
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
    segmentation_filled: Fraction = 0.5
    """Part of an f_Seg update's images that have the indicator, as far as such images exist; the others are
    drawn from all that have a mask of it, filled or empty."""
    segmentation_images: int | None = Field(default=None, ge=1)
    """Images with an indicator that f_Seg learns it from, and half as many of all that have a mask of it,
    filled or empty; None for all."""
    dice: Literal["squared", "linear"] = "squared"
    """Denominator of the soft dice: with squares, as in the paper, or the sums themselves."""
    segmentation_cross_entropy: float = Field(default=0.0, ge=0)
    """Weight of the pixels' cross entropy beside the soft dice."""
    image_size_px: int | None = Field(default=None, ge=64, multiple_of=32)
    """Height and width that f_CLR and f_Res see; None for the model's."""
    augment: Literal["none", "mild", "strong"] = "none"
    """Rotate, flip, scale and recolour the images of f_Res; turn and flip the heatmaps of f_Seg. The paper
    does not."""
    balance: Fraction = 0.0
    """Draw images with rare findings more often: by (negatives / positives) to this power, of their rarest
    finding."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """How often images of these sources are drawn for f_Res in this stage, in place of `data`'s weights."""
    averaging: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the exponential moving average of the weights, which is what is validated and kept; None for
    the weights themselves."""
    mask_supervision: float = Field(default=0.0, ge=0)
    """Weight, beside f_Res's BCE, of the loss of masks that the encoder's own features give; 0 for none. It
    teaches an encoder where things are."""
    explanation_supervision: float = Field(default=0.0, ge=0)
    """Weight, beside these, of the loss of the Grad-CAM heatmaps of the blocks at 1/16 and 1/32 against
    filled masks; 0 for none. It teaches an encoder to answer because of the place that the expert drew, and
    leaves batch norm's statistics as they are. Each indicator costs a pass through these blocks."""
    frozen_blocks: int = Field(default=0, ge=0)
    """First blocks of the encoder, with its stem, that stay as they are, batch norm included."""
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
        if self.mask_supervision and not self.classification_batch:
            raise ValueError("masks supervise the encoder in f_Res; set classification_batch")
        if self.explanation_supervision and not self.mask_supervision:
            raise ValueError("explanation_supervision goes with mask_supervision; set both")
        if self.mask_supervision and self.adversarial is not None:
            raise ValueError("f_Res takes mask_supervision or adversarial, not both; remove one")
        if self.frozen_blocks and self.averaging is None:
            raise ValueError(
                "frozen blocks keep their batch norm, which is settled anew after each epoch unless weights "
                "are averaged; set averaging"
            )
        return self


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
    segmentation_starts: dict[Indicator, Indicator] = {}
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
