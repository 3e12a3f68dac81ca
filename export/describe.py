"""What a bundle says about itself: manifest.json, and the metadata inside the ONNX files."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from biounet_edge.bundle.folder import graph_file
from biounet_edge.bundle.manifest import (
    EncoderSpec,
    FamiliaritySpec,
    FileSpec,
    GraphPrecision,
    InputSpec,
    Level,
    LevelSpec,
    Manifest,
    MelanomaSpec,
    OutputSpec,
    TrainingSpec,
    WeightFormat,
)
from biounet_edge.indicators import INDICATORS
from export.trace import OPSET
from train.checkpoint import ModelInfo
from train.encoders import FAMILIES, count_common_blocks
from train.familiarity import METHOD, SOURCE
from train.network import BioUNet

MEANINGS: Mapping[str, str] = {
    "melanoma_probability": "probability of melanoma, in [0, 1]",
    "melanoma_contribution": "log-odds that each indicator adds; with the bias they sum to the logit",
    "indicator_probability": "probability that the indicator is present, in [0, 1]",
    "heatmap": "Grad-CAM of the indicator at the last block, divided by its own maximum, in [0, 1]; all zero "
    "where nothing speaks for the indicator",
    "heatmap_scale": "maximum of the heatmap before it was divided by it, in units of the logit",
    "mask_probability": "probability that the pixel belongs to the indicator, in [0, 1]",
    "familiarity": "how much the photograph looks like the training photographs; higher is more familiar",
}
"""What each output is."""


def input_spec(info: ModelInfo) -> InputSpec:
    """Describe the graphs' input.

    Args:
        info: What the checkpoint says about the model.

    Returns:
        The input's section of the manifest.
    """
    size_px = info.network.image_size_px
    return InputSpec(height=size_px, width=size_px, mean=info.mean, std=info.std)


def add_metadata(
    graph: ir.Model, name: str, version: str, level: str, precision: GraphPrecision, notice: str | None
) -> None:
    """Write into an ONNX file what it is, for those who meet it without its manifest.

    Args:
        graph: The graph.
        name: Name of the model.
        version: Version of the model.
        level: Level or component.
        precision: Number format that the graph computes in.
        notice: What the model must not be used for, or None.
    """
    graph.producer_name = "biounet-edge"
    graph.metadata_props.update(
        name=name, version=version, level=level, precision=precision, indicators=",".join(INDICATORS)
    )
    if notice:
        graph.metadata_props["notice"] = notice


def make_manifest(
    model: BioUNet,
    info: ModelInfo,
    name: str,
    version: str,
    weights: WeightFormat,
    levels: Mapping[Level, Sequence[str]],
    shapes: Mapping[str, list[int]],
    components: Mapping[GraphPrecision, list[str]],
    gflops: Mapping[Level, float],
    folder: Path,
) -> Manifest:
    """Describe a bundle whose other files are all written.

    Args:
        model: The trained network.
        info: What the checkpoint says about it.
        name: Name of the model.
        version: Version of the model.
        weights: Number format of the stored convolution weights.
        levels: Names of each level's outputs.
        shapes: Sizes of each output without the batch axis.
        components: File names of the component graphs by precision.
        gflops: Cost of each level's graph for one image.
        folder: Where the files lie.

    Returns:
        The manifest.
    """
    head = model.fusion_head
    return Manifest(
        name=name,
        version=version,
        notice=info.notice,
        indicators=INDICATORS,
        input=input_spec(info),
        levels={
            level: LevelSpec(
                graphs={precision: graph_file(level, precision) for precision in components},
                outputs=list(outputs),
                gflops=round(gflops[level], 3),
            )
            for level, outputs in levels.items()
        },
        outputs={
            output: OutputSpec(shape=["N", *sizes], meaning=MEANINGS[output])
            for output, sizes in shapes.items()
        },
        components=dict(components),
        weights=weights,
        encoder=encoder_spec(model),
        melanoma=MelanomaSpec(
            threshold=info.melanoma_threshold, bias=head.bias.item(), temperature=head.temperature.item()
        ),
        operating_points=info.operating_points,
        presence_temperatures=info.presence_temperatures,
        presence_shifts=info.presence_shifts,
        familiarity=_familiarity(info),
        opset=OPSET,
        training=TrainingSpec(
            data=info.data,
            licence=info.licence,
            seed=info.seed,
            config=info.config,
            figures=info.figures,
            epochs=info.epochs,
            versions=info.versions,
        ),
        files={path.name: describe_file(path) for path in sorted(folder.iterdir())},
    )


def _familiarity(info: ModelInfo) -> FamiliaritySpec | None:
    if info.familiarity_threshold is None:
        return None
    return FamiliaritySpec(threshold=info.familiarity_threshold, score=METHOD, source=SOURCE)


def encoder_spec(model: BioUNet) -> EncoderSpec:
    """Describe how the encoders are built.

    Args:
        model: The trained network.

    Returns:
        Their section of the manifest.
    """
    config = model.config
    return EncoderSpec(
        family=config.family,
        base_width=None if FAMILIES[config.family].WIDTHS else config.base_width,
        decoder_width=config.decoder_width or 4 * config.base_width,
        common_blocks=count_common_blocks([network.encoder for network in model.all_networks()]),
    )


def describe_file(path: Path) -> FileSpec:
    """Measure a file.

    Args:
        path: The file.

    Returns:
        Its checksum and size.
    """
    with path.open("rb") as file:
        return FileSpec(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)
