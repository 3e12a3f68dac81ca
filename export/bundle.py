"""From a checkpoint, or a bundle, to a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.folder import GOLDEN_NAME
from biounet_edge.bundle.manifest import GraphPrecision, WeightFormat
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from export.draft import Draft
from export.folder import new_folder
from export.golden import read_golden_images, render_golden_images
from export.model_card import CARD_NAME, write_model_card
from export.parity import ParityRow, check_parity
from export.precision import (
    FEWEST_PHOTOGRAPHS,
    PARITY_NAME,
    Judgement,
    evenly,
    judge,
    parity_report,
    read_photographs,
)
from export.quantize import FEWEST_CALIBRATION_IMAGES, MOST_CALIBRATION_IMAGES
from export.reference import compute_reference
from export.restore import Origin, open_source
from export.weights import round_convolutions
from train.checkpoint import ModelInfo


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle is made of, beside the model."""

    name: str | None = None
    """Name of the model; None for the bundle's own, or the folder's."""
    version: str | None = None
    """Version of the model; None for the bundle's own, or 0.1.0."""
    golden: Sequence[Path] = ()
    """Images to verify the bundle with; the bundle's own, or rendered ones, where none are given."""
    card_notes: Path | None = None
    """Markdown file that the model card ends with; None for the bundle's own notes, or none."""
    weights: WeightFormat | None = None
    """Number format that convolution weights are stored in; float16 rounds the model to it first. None for
    the bundle's own, or float32."""
    precisions: Sequence[GraphPrecision] = ("float32",)
    """Number formats to compute in; float32 is always there."""
    photographs: Sequence[Path] = ()
    """Image files that every precision is judged on."""
    calibration: Sequence[Path] = ()
    """Image files that show int8 the range of activations."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with PyTorch."""

    parity: list[ParityRow]
    """One row per output and float32 graph, on the golden images."""
    judgements: list[Judgement]
    """Each precision on photographs; those that miss a gate are not in the bundle."""
    bundle_bytes: int
    """Size of all files of the bundle."""
    source_bytes: int
    """Size of the weights that it was made from."""

    @property
    def missed(self) -> list[Judgement]:
        """Precisions that were asked for and not written."""
        return [judgement for judgement in self.judgements if judgement.problems]


def export_bundle(
    source: Path,
    out: Path,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> ExportReport:
    """Write a bundle, whole or not at all.

    Args:
        source: `model.safetensors` or its folder; or a bundle, to write it again, for instance in another
            precision.
        out: Folder of the bundle.
        options: What it is made of; None for a checkpoint's, or a bundle's own, defaults.
        overwrite: Whether a bundle that is already there is replaced.
        report: Called with a line about what is being done.

    Returns:
        Sizes and parity.

    Raises:
        CheckpointError: If the checkpoint is missing or damaged.
        ImageError: If an image cannot be read.
        ExportError: If the model has not an encoder and a decoder for each indicator, the float32 graphs miss
            a parity gate, there are too few photographs for another precision, or the folder is already
            there.
    """
    options = options or ExportOptions()
    with new_folder(out, overwrite=overwrite) as folder:
        origin = open_source(source)
        check_exportable(origin.info)
        size_px = origin.info.network.image_size_px
        photographs, calibration = _read_images(options, size_px)
        notes = origin.notes if options.card_notes is None else _read_notes(options.card_notes)
        draft = Draft(
            folder=folder,
            model=origin.model,
            info=origin.info,
            name=options.name or origin.name or out.name,
            version=options.version or origin.version,
            weights=options.weights or origin.weights,
        )
        if draft.weights == "float16":
            round_convolutions(draft.model)
        report("choosing golden images")
        images = _golden_images(options, origin, size_px)
        draft.add_graphs(options.precisions, calibration, report)
        report("writing")
        draft.write_graphs()
        report("comparing with PyTorch")
        reference = compute_reference(draft.model, images)
        np.savez_compressed(folder / GOLDEN_NAME, image=images, **reference.outputs)  # type: ignore[arg-type]
        parity = check_parity(folder, reference)
        judgements = [] if photographs is None else _judge(draft, photographs, report)
        (folder / PARITY_NAME).write_text(parity_report(judgements, parity), encoding="utf-8")
        card = write_model_card(draft.info, draft.name, draft.version, len(images), parity, judgements, notes)
        (folder / CARD_NAME).write_text(card, encoding="utf-8")
        draft.write_manifest()
        bundle_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return ExportReport(parity, judgements, bundle_bytes, origin.weights_bytes)


def check_exportable(info: ModelInfo) -> None:
    """Reject models that a bundle cannot hold: those of the paper's ablations.

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


def _read_images(
    options: ExportOptions, size_px: int
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """Photographs to judge on and images to calibrate with, each None where it is not needed."""
    others = [precision for precision in options.precisions if precision != "float32"]
    photographs = calibration = None
    if others or options.photographs:
        purpose = f"to judge {', '.join(others) or 'float32'} on (--images)"
        photographs = read_photographs(options.photographs, size_px, FEWEST_PHOTOGRAPHS, purpose)
    if "int8" in others:
        paths = evenly(options.calibration, MOST_CALIBRATION_IMAGES)
        purpose = "to calibrate int8 with (--calibration-images)"
        calibration = read_photographs(paths, size_px, FEWEST_CALIBRATION_IMAGES, purpose)
    return photographs, calibration


def _golden_images(options: ExportOptions, origin: Origin, size_px: int) -> NDArray[np.uint8]:
    if options.golden:
        return read_golden_images(options.golden, size_px)
    return render_golden_images(origin.model) if origin.golden is None else origin.golden


def _judge(draft: Draft, photographs: NDArray[np.uint8], report: Callable[[str], None]) -> list[Judgement]:
    """Judge every precision and take those that miss a gate out of the draft."""
    manifest = draft.write_manifest()
    judgements = judge(draft.folder, list(draft.components), manifest, draft.model, photographs, report)
    missed = {judgement.precision: judgement.problems for judgement in judgements if judgement.problems}
    if "float32" in missed:
        raise ExportError(
            f"the float32 graphs do not compute what PyTorch computes from the photographs: "
            f"{'; '.join(missed['float32'])}"
        )
    draft.drop(list(missed))
    return judgements


def _read_notes(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read as a text file: {error}") from error
