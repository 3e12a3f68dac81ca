"""manifest.json: everything a bundle's model assumes, as pydantic models.

The exporter writes manifests through these models and the runtime reads them through the same ones, so a
field that one side does not know cannot reach the other.
"""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from biounet_edge.errors import ManifestError
from biounet_edge.indicators import INDICATORS

FORMAT = 2
"""Bundle format that this version writes, and the newest that it reads; it reads format 1 too."""

_NEW_IN_FORMAT_2 = frozenset({"encoder", "presence_shifts", "familiarity"})

FAMILIARITY = "familiarity"
"""Name of the output that says how much a photograph is like those of the training, and of its section."""

CANNOT_JUDGE = (
    "this model cannot judge whether a photograph is like those that it was trained on: whatever can be read "
    "gets a probability"
)
"""What is said of a bundle without that output."""

MAX_INPUT_PX = 8192
"""Largest input height and width of a model, in pixels; more would take the memory of any machine."""

Level = Literal["classify", "cam", "full"]
"""How much is computed: probabilities; with heatmaps; with heatmaps and masks."""

GraphPrecision = Literal["float32", "float16", "int8"]
"""Number format that an exported graph computes in."""

Precision = Literal["float32", "float16", "bfloat16", "int8"]
"""Number format that a backend computes in; bfloat16 is a float32 graph on hardware that multiplies
bfloat16."""

WeightFormat = Literal["float32", "float16"]
"""Number format of stored convolution weights, which is no matter of what a graph computes in."""

GraphFile = Annotated[str, Field(pattern=r"\.onnx$")]
"""File name of a graph. Libraries choose by the ending how they read it, and ONNX is what is inspected."""

Probability = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[float, float, float]


def bundle_file_name(name: str) -> str:
    """Reject names that could reach outside the bundle.

    Args:
        name: File name as a manifest gives it.

    Returns:
        The same name.

    Raises:
        ValueError: If it is empty, absolute, or has a folder, a drive or '..' in it.
    """
    if name in ("", ".", "..") or PurePosixPath(name).name != name or any(c in name for c in "\\:\0"):
        raise ValueError(f"expected a plain file name inside the bundle, got {name!r}")
    return name


class _Section(BaseModel):
    """Base of every part of the manifest: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class InputSpec(_Section):
    """What the graphs expect at their one input."""

    name: str = "image"
    """Name of the graph input."""
    height: int = Field(ge=1, le=MAX_INPUT_PX)
    """Input height in pixels."""
    width: int = Field(ge=1, le=MAX_INPUT_PX)
    """Input width in pixels."""
    colour_order: Literal["RGB"] = "RGB"
    """Order of the last axis."""
    value_range: tuple[int, int] = (0, 255)
    """Range of the uint8 input."""
    mean: Triple
    """Subtracted from value / 255 inside the graph, per colour."""
    std: Triple
    """Divides the difference inside the graph, per colour."""
    resize: Literal["stretch-area"] = "stretch-area"
    """Rule of `biounet_edge.photographs.decoding.resize_to_input`."""


class LevelSpec(_Section):
    """One composed graph, in each precision that the bundle has."""

    graphs: dict[GraphPrecision, GraphFile]
    """File name of the ONNX graph by the number format that it computes in; float32 is always there."""
    outputs: list[str] = Field(min_length=1)
    """Names of the graph's outputs, in its order; the same in every precision."""
    gflops: float | None = Field(default=None, gt=0)
    """Convolutions and matrix products of one image, 2 FLOPs for each multiply-add; None where not
    counted."""

    @field_validator("graphs")
    @classmethod
    def _float32_is_there(cls, graphs: dict[GraphPrecision, str]) -> dict[GraphPrecision, str]:
        if "float32" not in graphs:
            raise ValueError(f"expected a float32 graph, got {', '.join(graphs) or 'none'}")
        return graphs


class OutputSpec(_Section):
    """One graph output."""

    shape: list[str | int]
    """Axes: a size, or a letter of the design ("N", "J", "H", ...)."""
    meaning: str
    """What it is, in words, with unit and range."""


class EncoderSpec(_Section):
    """How the five encoders and their decoders are built. For people: the runtime depends on none of it."""

    family: str = Field(min_length=1)
    """Architecture of the encoders, such as "resnet50" or "efficientnet_lite0"."""
    base_width: int | None = Field(ge=1)
    """Channels of the stem of ResNet-50; None for a family of one width."""
    decoder_width: int = Field(ge=1)
    """Channels of the first block of the U-Net decoder."""
    common_blocks: int = Field(default=0, ge=0)
    """Number of first blocks that are equal in all five encoders: the composed graphs compute them once."""


class MelanomaSpec(_Section):
    """How contributions become a probability, and from where on it counts as melanoma."""

    threshold: Probability
    """Operating point on the probability."""
    bias: float
    """Log-odds that are there without any indicator."""
    temperature: float = Field(gt=0)
    """Calibration: probability = sigmoid((bias + sum of contributions) / temperature)."""


class OperatingPoint(_Section):
    """The probability that makes an indicator present, and a pixel part of its mask."""

    presence: Probability | None
    """Threshold on the indicator's probability. None where no threshold made 'present' more often right than
    wrong on the validation photographs: then only the probability is reported."""
    mask: Probability
    """Threshold on the mask probability of a pixel."""


class FamiliaritySpec(_Section):
    """The operating point of the graph output `familiarity` (N), and what that is."""

    threshold: float
    """Score below which a photograph does not look like the training photographs."""
    score: str = Field(min_length=1)
    """Name of the method that computes the score."""
    source: str = Field(min_length=1)
    """Publication of the method."""


class TrainingSpec(_Section):
    """Where the weights come from."""

    data: list[str]
    """Names of the data sets."""
    licence: str
    """Licence of the weights."""
    seed: int
    """Seed of the training run."""
    config: str
    """Configuration file of the training run, relative to the repository."""
    figures: dict[str, float] = {}
    """Validation figures of the finished model."""
    epochs: dict[str, int] = {}
    """Epochs that each stage trained."""
    versions: dict[str, str] = {}
    """Versions of the libraries that trained it."""


class FileSpec(_Section):
    """One file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the content, in hexadecimal."""
    bytes: int = Field(ge=0)
    """Size in bytes."""


class Manifest(_Section):
    """manifest.json of format 1 or 2."""

    format: Literal[1, 2] = 2
    """Version of the bundle format."""
    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    notice: str | None = None
    """Shown once per run; says what the model must not be used for."""
    indicators: tuple[str, ...]
    """Names of the indicators, in the order of every J axis."""
    input: InputSpec
    """The graphs' input, and the preparation that leads to it."""
    levels: dict[Level, LevelSpec] = Field(min_length=1)
    """The composed graphs."""
    outputs: dict[str, OutputSpec]
    """What each output of the graphs is."""
    components: dict[GraphPrecision, list[GraphFile]]
    """Files of the graphs that the composed ones are made of, by precision."""
    weights: WeightFormat = "float32"
    """Number format of the convolution weights in weights.bin."""
    encoder: EncoderSpec | None = None
    """How the encoders are built; required in format 2, None in format 1."""
    melanoma: MelanomaSpec
    """From log-odds to the diagnosis."""
    operating_points: dict[str, OperatingPoint]
    """One per indicator."""
    presence_temperatures: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Calibration of the indicators' probabilities, which the graphs have already:
    probability = sigmoid((logit - shift) / temperature); empty where the model was not calibrated."""
    presence_shifts: dict[str, float] = {}
    """The shifts of that calibration; 0 for an indicator that is not named. New in format 2."""
    familiarity: FamiliaritySpec | None = None
    """What the model can say about unlike photographs; None where it cannot judge. New in format 2."""
    opset: int = Field(ge=1)
    """ONNX operator set of every graph."""
    training: TrainingSpec
    """Data, licence and configuration of the weights."""
    files: dict[str, FileSpec]
    """Every file of the bundle but manifest.json itself."""

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileSpec]) -> dict[str, FileSpec]:
        return {bundle_file_name(name): spec for name, spec in files.items()}

    @model_validator(mode="after")
    def _fields_belong_to_the_format(self) -> Self:
        if self.format == FORMAT:
            if self.encoder is None:
                raise ValueError("encoder is missing: a manifest of format 2 describes its encoders")
            return self
        if new := sorted(name for name in _NEW_IN_FORMAT_2 if getattr(self, name)):
            raise ValueError(f"{', '.join(new)} came with format 2: expected none in a manifest of format 1")
        if undecided := [name for name, point in self.operating_points.items() if point.presence is None]:
            raise ValueError(
                f"presence of {', '.join(undecided)} is null, which came with format 2: "
                "expected a threshold in a manifest of format 1"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.indicators != INDICATORS:
            raise ValueError(
                f"indicators must be {', '.join(INDICATORS)} in this order, got {self.indicators}"
            )
        if set(self.operating_points) != set(INDICATORS):
            raise ValueError(
                f"operating_points must name each indicator once, got {sorted(self.operating_points)}"
            )
        graphs = [graph for level in self.levels.values() for graph in level.graphs.values()]
        for graph in graphs + [graph for files in self.components.values() for graph in files]:
            if graph not in self.files:
                raise ValueError(f"{graph} is used but is not listed under files")
        for level, spec in self.levels.items():
            if unknown := set(spec.outputs) - set(self.outputs):
                raise ValueError(f"level {level} has outputs that are not described: {sorted(unknown)}")
            if (self.familiarity is not None) != (FAMILIARITY in spec.outputs):
                raise ValueError(
                    f"the output {FAMILIARITY} of level {level} and the section {FAMILIARITY}, which has its "
                    "threshold, come together: expected both or neither"
                )
        return self

    def to_json(self) -> str:
        """Write the manifest as it is in a bundle.

        Returns:
            Indented JSON, with a newline at its end; of format 1 without the fields of format 2.
        """
        exclude = set(_NEW_IN_FORMAT_2) if self.format < FORMAT else None
        return self.model_dump_json(indent=2, exclude=exclude) + "\n"


def parse_manifest(text: str | bytes) -> Manifest:
    """Read a manifest of format 1 or 2.

    Args:
        text: Content of manifest.json.

    Returns:
        The checked manifest.

    Raises:
        ManifestError: If it is not JSON, of a newer format, or a field is missing, unknown or wrong.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"manifest.json is not valid JSON: {error}") from error
    form = content.get("format") if isinstance(content, dict) else None
    if not isinstance(form, int) or isinstance(form, bool):
        raise ManifestError(f'manifest.json has no format number: expected "format": {FORMAT}')
    if form > FORMAT:
        raise ManifestError(
            f"the bundle has format {form}, and this biounet-edge reads up to format {FORMAT}: "
            "a newer biounet-edge is needed (pip install --upgrade biounet-edge)"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(_describe(problem["loc"], problem["msg"]) for problem in error.errors())
        raise ManifestError(f"manifest.json is not a manifest of format {form}: {problems}") from error


def _describe(location: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in location) or "manifest"
    return f"{where}: {message.removeprefix('Value error, ')}"
