"""The command add: an ONNX classifier that anyone trained gets heatmap outputs."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from onnx_gradcam.cli.console import show, silence_converter
from onnx_gradcam.cli.options import ModelArgument, ScoresOption
from onnx_gradcam.errors import OptionError


def add(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="ONNX file to write.", metavar="OUT.onnx")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a value to explain, once for each; last is the last spatial layer.",
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
    scores: ScoresOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is already there.")
    ] = False,
) -> None:
    """Give an ONNX classifier heatmap outputs: Grad-CAM of standard operators, for any runtime."""
    if output is None:
        raise OptionError(
            "expected where to write the model: --output OUT.onnx; `onnx-gradcam layers` lists its layers"
        )
    chosen = _parse_logit(logit)
    from onnx_gradcam.explanation import Explanation, add_heatmaps
    from onnx_gradcam.model_file import load_model, save_model

    silence_converter()
    explanation = Explanation(
        layers=layer or ("last",),
        logit=chosen,
        scores=scores,
        method=method,
        resize=resize,
        normalize=normalize,
    )
    explained = add_heatmaps(load_model(model), explanation)
    save_model(explained, output, overwrite=overwrite)
    for key, value in explained.metadata_props.items():
        if key.startswith("heatmap_"):
            show(f"{key.removeprefix('heatmap_')}: {value}")
    show("outputs: " + ", ".join(f"{value.name} {value.shape}" for value in explained.graph.outputs))
    show(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def _parse_logit(text: str) -> int | Literal["top", "input"]:
    if text in ("top", "input"):
        return cast(Literal["top", "input"], text)
    if not text.isdecimal():
        raise OptionError(f"--logit is the index of a class, top or input: got {text!r}")
    return int(text)
