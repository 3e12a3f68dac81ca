"""The command gradcam: an ONNX classifier that anyone trained gets heatmap outputs."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from biounet_edge.errors import BiounetEdgeError, InputError

if TYPE_CHECKING:
    from onnx_gradcam.layers import Layer


def gradcam(
    model: Annotated[Path, typer.Argument(help="ONNX file of a classifier of images.", metavar="MODEL.onnx")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="ONNX file to write.", metavar="OUT.onnx")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a value to explain, once for each; last is the last with a place in the image.",
            show_default="last",
        ),
    ] = None,
    logit: Annotated[
        str,
        typer.Option(
            help="Class to explain: its index; top for the best class of each image; input for an input "
            "class_index of the graph."
        ),
    ] = "top",
    method: Annotated[
        Literal["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam"],
        typer.Option(help="How activations and gradients become a heatmap."),
    ] = "gradcam",
    resize: Annotated[
        Literal["input", "none"], typer.Option(help="Size of the heatmaps: the input's, or the layer's.")
    ] = "input",
    normalize: Annotated[
        Literal["max", "none"],
        typer.Option(help="Divide each heatmap by its maximum, or leave it in units of the score."),
    ] = "max",
    scores: Annotated[
        str | None,
        typer.Option(
            help="Name of the class scores (N, K).", show_default="the first output, before its softmax"
        ),
    ] = None,
    list_layers: Annotated[
        bool, typer.Option("--list-layers", help="Show the layers that can be explained, and write nothing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Give an ONNX classifier heatmap outputs: Grad-CAM of standard operators, for any runtime."""
    messages = Console(stderr=True)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of how it converts operator sets
    try:
        if list_layers:
            from onnx_gradcam.explanation import list_layers as find
            from onnx_gradcam.model_file import load_model

            _print_layers(find(load_model(model), scores))
            return
        if output is None:
            raise InputError("expected where to write the model: --output OUT.onnx, or --list-layers")
        from onnx_gradcam.explanation import Explanation, add_heatmaps
        from onnx_gradcam.model_file import load_model, save_model

        explanation = Explanation(
            layers=layer or ("last",),
            logit=_parse_logit(logit),
            scores=scores,
            method=method,
            resize=resize,
            normalize=normalize,
        )
        explained = add_heatmaps(load_model(model), explanation)
        save_model(explained, output, overwrite=overwrite)
    except BiounetEdgeError as error:
        messages.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console = Console()
    for key, value in explained.metadata_props.items():
        if key.startswith("heatmap_"):
            console.print(f"{key.removeprefix('heatmap_')}: {escape(value)}", soft_wrap=True, highlight=False)
    names = ", ".join(f"{value.name} {value.shape}" for value in explained.graph.outputs)
    console.print(f"outputs: {escape(names)}", soft_wrap=True, highlight=False)
    console.print(
        f"{escape(str(output))}: {output.stat().st_size / 1e6:.1f} MB", soft_wrap=True, highlight=False
    )


def _parse_logit(text: str) -> int | Literal["top", "input"]:
    if text in ("top", "input"):
        return cast(Literal["top", "input"], text)
    if not text.isdecimal():
        raise InputError(f"--logit is the index of a class, top or input: got {text!r}")
    return int(text)


def _print_layers(layers: "list[Layer]") -> None:
    from onnx_gradcam.layers import last_layer

    last = last_layer(layers)
    table = Table("operator", "channels", "height x width", "", box=None)
    table.add_column("layer", overflow="fold")
    for layer in layers:
        height, width = ("?" if size is None else str(size) for size in layer.layout.grid)
        table.add_row(
            layer.operator,
            str(layer.channels or "?"),
            f"{height} x {width}",
            "last" if layer is last else "",
            escape(str(layer.value.name)),
        )
    Console().print(table)
