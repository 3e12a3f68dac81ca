"""`python -m export CHECKPOINT OUT`: a checkpoint becomes a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from biounet_edge.errors import BiounetEdgeError

if TYPE_CHECKING:
    from export.bundle import ExportReport


class _BundleFirst(TyperGroup):
    """Reads `python -m export CHECKPOINT OUT` as `python -m export bundle CHECKPOINT OUT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_BundleFirst, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback()
def main() -> None:
    """Export trained models as ONNX graphs with their explanations inside.

    `python -m export CHECKPOINT OUT` is short for the command bundle.
    """


@app.command()
def bundle(
    checkpoint: Annotated[Path, typer.Argument(help="model.safetensors of a finished model, or its folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle, such as engines/NAME.")],
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="the folder's")] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
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
        Literal["float32", "float16"],
        typer.Option(
            help="Number format that convolution weights are stored in; float16 takes half the space."
        ),
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is already there.")
    ] = False,
) -> None:
    """Write a checkpoint as a bundle: graphs, weights, golden outputs, manifest and model card."""
    from export.bundle import export_bundle

    messages = Console(stderr=True)
    try:
        with messages.status("starting") as status:
            report = export_bundle(
                checkpoint,
                out,
                name=name,
                version=version,
                golden=golden or (),
                card_notes=card_notes,
                weights=weights,
                overwrite=overwrite,
                report=status.update,
            )
    except BiounetEdgeError as error:
        messages.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _print_report(out, report)


def _print_report(out: Path, report: "ExportReport") -> None:
    table = Table(
        "graph", "output", "difference", "on any image", "gate", "", title="ONNX Runtime against PyTorch"
    )
    for row in report.parity:
        differences = (row.typical_difference, row.largest_difference)
        table.add_row(row.graph, row.output, *(f"{d:.1e}" for d in differences), f"{row.gate:.0e}", "passed")
    console = Console()
    console.print(table)
    console.print(
        f"{out}: {report.bundle_bytes / 1e6:.1f} MB, checkpoint: {report.checkpoint_bytes / 1e6:.1f} MB",
        soft_wrap=True,
        markup=False,
    )


if __name__ == "__main__":
    app()
