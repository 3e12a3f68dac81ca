"""`evaluation.json`: one model judged on one side of one data source.

What could not be computed (one class only, no masks) is null or left out, never a number.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from biounet_edge.errors import InputError
from biounet_edge.evaluation.bootstrap import Interval
from biounet_edge.evaluation.decisions import Rate
from train.config.section import describe_problems

MethodName = Literal["grad_cam", "decoder", "grad_cam_plus_plus", "layer_cam", "lime"]

METHODS: Final[tuple[MethodName, ...]] = get_args(MethodName)
"""What can localise an indicator; `train/evaluation/methods.py` has each as a function."""

FILE_NAME: Final = "evaluation.json"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Figure(_Section):
    """One measured value."""

    value: FiniteFloat
    low: FiniteFloat
    """Lower end of its 95 % interval: by bootstrap over images, of rates at an operating point Wilson's."""
    high: FiniteFloat

    @classmethod
    def of(cls, interval: Interval | None) -> "Figure | None":
        """A measured value of the figures' module; None where there is none."""
        return None if interval is None else cls(value=interval.value, low=interval.low, high=interval.high)

    @classmethod
    def of_rate(cls, rate: Rate) -> "Figure | None":
        """A part of a number of images; None where there is no image."""
        low, high = rate.interval
        return cls(value=rate.value, low=low, high=high) if rate.images else None


class ModelSection(_Section):
    """Which model was judged."""

    name: str
    row: str | None
    """Row of the paper's tables that it fills."""
    seed: int
    config: str
    """Name of the configuration file."""
    base_width: int
    image_size_px: int
    encoders: tuple[tuple[str, ...], ...]
    """Tasks of each encoder."""
    training: tuple[str, ...]
    """One line a data source: what it was trained on."""


class IndicatorCount(_Section):
    """Images whose presence label is known."""

    present: NonNegativeInt = Field(validation_alias="with", serialization_alias="with")
    absent: NonNegativeInt = Field(validation_alias="without", serialization_alias="without")


class DataSection(_Section):
    """Which images judged it."""

    source: str
    side: Literal["train", "validation", "test"]
    images: NonNegativeInt
    counts: dict[str, IndicatorCount]
    """By indicator."""


class Settings(_Section):
    """How the figures were made."""

    resamples: NonNegativeInt
    """Bootstrap resamples of an interval."""
    seed: int
    """Of the bootstrap, of LIME and of the sample of images."""
    sampled_from: int | None
    """Images that a sample was drawn from; None where all were judged."""
    lime_samples: int | None
    """Perturbed copies of an image that LIME asks about; None where LIME was not asked."""
    heatmap_threshold: float
    """Where heatmaps become binary masks; the decoder has operating points of its own."""


class DiagnosisFigures(_Section):
    """Figures of the melanoma probability; None where only one class is there."""

    accuracy: Figure
    balanced_accuracy: Figure | None
    auc: Figure | None
    average_precision: Figure | None
    sensitivity_at_95_specificity: Figure | None
    sensitivity: Figure | None = None
    """At the operating point, as specificity; None in evaluations that are older than it."""
    specificity: Figure | None = None
    calibration_error: Figure


class Diagnosis(_Section):
    """The diagnosis over the images whose diagnosis is known."""

    images: NonNegativeInt
    melanomas: NonNegativeInt
    figures: DiagnosisFigures


class Presence(_Section):
    """Whether an indicator is there, over the images whose label is known."""

    images: NonNegativeInt
    positives: NonNegativeInt
    auc: Figure | None
    """None where only one class is there."""
    predictive_value: Figure | None = None
    """Of 'present'; None where the indicator has no operating point or is nowhere called present."""


class Localisation(_Section):
    """Where an indicator is, by one method. Figures over filled masks are None where none is filled."""

    images: NonNegativeInt
    """Images with a known mask, empty masks included."""
    images_filled: NonNegativeInt
    """Images whose true mask is not empty at the input size."""
    cdc_filled: Figure | None
    """Continuous Dice of the map as it is, mean over filled masks."""
    cdc_all: Figure | None
    """Continuous Dice over all known masks, the map of an indicator not reported as present being empty."""
    dice: Figure | None
    """Dice of the binary mask, mean over filled masks."""
    jaccard: Figure | None
    """Jaccard of the binary mask, mean over filled masks."""
    cdc_everything: FiniteFloat | None = None
    """cdc_filled of a mask of the whole image."""
    cdc_filled_at: dict[str, FiniteFloat]
    """cdc_filled with the values of the map below a threshold set to 0, by the threshold: "0.0" to "0.9"."""


class Evaluation(_Section):
    """All of `evaluation.json`."""

    format: Literal[1] = 1
    model: ModelSection
    data: DataSection
    settings: Settings | None = None
    diagnosis: Diagnosis | None
    """None where no diagnosis is known."""
    presence: dict[str, Presence]
    """By indicator; an indicator without labels is left out."""
    localisation: dict[MethodName, dict[str, Localisation]]
    """By method, then by indicator; an indicator without masks is left out."""
    pooled_jaccard: Annotated[dict[MethodName, dict[str, FiniteFloat]], Field(default_factory=dict)]
    """By method: each indicator's Jaccard over the pixels of all images (ISIC 2018 Task 2), their `mean`,
    and `micro_average` over the pixels of all indicators together."""

    def to_json(self) -> str:
        """The text of `evaluation.json`."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def load_evaluation(path: Path) -> Evaluation:
    """Read an evaluation.

    Args:
        path: `evaluation.json`, or the folder that holds it.

    Raises:
        InputError: If there is no such file or it is not an evaluation of this format.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"expected an evaluation at {file}, found none; run `python -m train evaluate RUN`")
    try:
        return Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is not an evaluation of format 1 ({describe_problems(error)}); "
            "run `python -m train evaluate` again"
        ) from error
