"""`python -m export bundle`: makes a bundle of a checkpoint, or writes a bundle again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from biounet_edge.cli.console import say
from biounet_edge.errors import InputError

if TYPE_CHECKING:
    from biounet_edge.bundle.manifest import GraphPrecision
    from export.bundle import ExportReport


def bundle(
    source: Annotated[
        Path,
        typer.Argument(
            help="model.safetensors of a finished model, or its folder; or a bundle, to write it again."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle, such as engines/NAME.")],
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="the folder's")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model.", show_default="0.1.0")] = None,
    golden: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image to verify the bundle with, two to four times.", show_default="rendered images"
        ),
    ] = None,
    card_notes: Annotated[
        Path | None, typer.Option(help="Markdown file with measured results, for the model card's end.")
    ] = None,
    weights: Annotated[
        Literal["float32", "float16"] | None,
        typer.Option(
            help="Number format that convolution weights are stored in; float16 takes half the space.",
            show_default="float32",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Number formats to compute in, with commas: fp32, fp16, int8.")
    ] = "fp32",
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Photographs, or a folder of them, 24 or more, that every precision is judged on."),
    ] = None,
    calibration_images: Annotated[
        list[Path] | None,
        typer.Option(help="Other photographs, or a folder of them, 8 or more, that int8 is calibrated with."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is already there.")
    ] = False,
) -> None:
    """Write a model as a bundle: graphs, weights, golden outputs, parity, manifest and model card.

    Exit code 3: the bundle was written, but without a precision that missed a gate.
    """
    from biounet_edge.photographs.discovery import discover
    from export.bundle import ExportOptions, export_bundle

    options = ExportOptions(
        name=name,
        version=version,
        golden=golden or (),
        card_notes=card_notes,
        weights=weights,
        precisions=_parse_precisions(precision),
        photographs=[image.path for image in discover(images or ())],
        calibration=[image.path for image in discover(calibration_images or ())],
    )
    with Console(stderr=True).status("starting") as status:
        report = export_bundle(source, out, options, overwrite=overwrite, report=status.update)
    _print_report(out, report)
    for missed in report.missed:
        say(f"{missed.precision} is not in the bundle: {'; '.join(missed.problems)}", style="red")
    if report.missed:
        raise typer.Exit(3)


_PRECISIONS: dict[str, "GraphPrecision"] = {
    "fp32": "float32",
    "float32": "float32",
    "fp16": "float16",
    "float16": "float16",
    "int8": "int8",
}


def _parse_precisions(text: str) -> list["GraphPrecision"]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in _PRECISIONS]:
        raise InputError(f"there is no precision {', '.join(unknown)}: choose from fp32, fp16, int8")
    return [_PRECISIONS[name] for name in names]


def _print_report(out: Path, report: "ExportReport") -> None:
    table = Table(
        "graph", "output", "difference", "on any image", "gate", "", title="ONNX Runtime against PyTorch"
    )
    for row in report.parity:
        differences = (row.typical_difference, row.largest_difference)
        table.add_row(row.graph, row.output, *(f"{d:.1e}" for d in differences), f"{row.gate:.0e}", "passed")
    console = Console()
    console.print(table)
    if report.judgements:
        console.print(_judgement_table(report))
    console.print(
        f"{out}: {report.bundle_bytes / 1e6:.1f} MB, made from {report.source_bytes / 1e6:.1f} MB of weights",
        soft_wrap=True,
        markup=False,
    )


def _judgement_table(report: "ExportReport") -> Table:
    table = Table(
        "precision",
        "flips",
        "probability",
        "median",
        "worst",
        "lost",
        "mask IoU",
        "",
        title=f"Precisions against PyTorch, {report.judgements[0].agreement.images} photographs: "
        "melanoma decisions that flip, probabilities, heatmap correlation",
    )
    for judgement in report.judgements:
        agreement = judgement.agreement
        spreads = agreement.heatmap_correlation.values()
        table.add_row(
            judgement.precision,
            str(agreement.melanoma_flips),
            f"{agreement.probability_difference:.1e}",
            f"{min(spread.median for spread in spreads):.4f}",
            f"{min(spread.worst for spread in spreads):.4f}",
            str(agreement.lost_heatmaps),
            f"{min(agreement.mask_iou.values()):.3f}",
            "missed" if judgement.problems else "passed",
        )
    return table
