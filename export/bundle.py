"""From a checkpoint to a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biounet_edge.bundle import GOLDEN_NAME, MANIFEST_NAME, Bundle
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from biounet_edge.manifest import WeightFormat
from export.components import make_components
from export.compose import LEVEL_OUTPUTS, compose, graph_file, output_shapes
from export.describe import add_metadata, input_spec, make_manifest
from export.folder import new_folder
from export.golden import read_golden_images, render_golden_images
from export.model_card import write_model_card
from export.parity import ParityRow, check_parity
from export.reference import compute_reference
from export.weights import round_convolutions, write_graphs
from train.checkpoint import ModelInfo, load_model
from train.network import BioUNet

CARD_NAME = "MODEL_CARD.md"


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with PyTorch."""

    parity: list[ParityRow]
    """One row per output and graph."""
    bundle_bytes: int
    """Size of all files of the bundle."""
    checkpoint_bytes: int
    """Size of the checkpoint's weights."""


def export_bundle(
    checkpoint: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str = "0.1.0",
    golden: Sequence[Path] = (),
    card_notes: Path | None = None,
    weights: WeightFormat = "float32",
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> ExportReport:
    """Writes a bundle, whole or not at all.

    Args:
        checkpoint: `model.safetensors`, or its folder.
        out: Folder of the bundle.
        name: Name of the model; None for the folder's.
        version: Version of the model.
        golden: Images to verify the bundle with; rendered ones where none are given.
        card_notes: Markdown file that the model card ends with.
        weights: Number format that convolution weights are stored in; float16 rounds the model to it first.
        overwrite: Whether a bundle that is already there is replaced.
        report: Called with a line about what is being done.

    Returns:
        Sizes and parity.

    Raises:
        CheckpointError: If the checkpoint is missing or damaged.
        ImageError: If a golden image cannot be read.
        ExportError: If the model has not an encoder and a decoder for each indicator, the graphs miss a
            parity gate, or the folder is already there.
    """
    with new_folder(out, overwrite=overwrite) as folder:
        model, info = load_model(checkpoint)
        check_exportable(info)
        if weights == "float16":
            round_convolutions(model)
        notes = _read_notes(card_notes)
        report("choosing golden images")
        images = (
            read_golden_images(golden, info.network.image_size_px) if golden else render_golden_images(model)
        )
        name = name or out.name
        components, shapes = _write_graphs(model, info, name, version, weights, folder, report)
        report("comparing with PyTorch")
        reference = compute_reference(model, images)
        np.savez_compressed(folder / GOLDEN_NAME, image=images, **reference.outputs)  # type: ignore[arg-type]
        parity = check_parity(folder, reference)
        card = write_model_card(info, name, version, len(images), parity, notes)
        (folder / CARD_NAME).write_text(card, encoding="utf-8")
        manifest = make_manifest(model, info, name, version, weights, shapes, components, folder)
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        Bundle.open(folder)  # as the runtime will
        bundle_bytes = sum(path.stat().st_size for path in folder.iterdir())
    tensors = checkpoint / "model.safetensors" if checkpoint.is_dir() else checkpoint
    return ExportReport(parity, bundle_bytes, tensors.stat().st_size)


def check_exportable(info: ModelInfo) -> None:
    """Refuse models that a bundle cannot hold: those of the paper's ablations.

    Raises:
        ExportError: If an indicator has no encoder or no decoder of its own.
    """
    leading = [tasks[0] for tasks in info.network.encoders]
    if leading != list(INDICATORS):
        raise ExportError(
            f"a bundle has one encoder for each of {', '.join(INDICATORS)}; {info.name} has "
            f"{len(leading)} led by {', '.join(leading)}; export a model with an encoder for each"
        )
    if not info.segmentation:
        raise ExportError(
            f"{info.name} was trained without f_Seg, a bundle needs its masks; "
            "set segmentation_batch and train again"
        )


def _write_graphs(
    model: BioUNet,
    info: ModelInfo,
    name: str,
    version: str,
    weights: WeightFormat,
    folder: Path,
    report: Callable[[str], None],
) -> tuple[list[str], dict[str, list[int]]]:
    """Writes all graphs and weights; file names of the components, and sizes of the outputs."""
    components = make_components(model, report)
    report("composing the graphs")
    graphs = {level: compose(level, components, input_spec(info)) for level in LEVEL_OUTPUTS} | components
    for level, graph in graphs.items():
        add_metadata(graph, name, version, level, info.notice)
    report("writing")
    write_graphs({graph_file(level): graph for level, graph in graphs.items()}, folder, weights)
    return [graph_file(component) for component in components], output_shapes(components)


def _read_notes(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read as a text file: {error}") from error
