"""`python -m export gradcam`: has moved, and says where."""

from typing import Annotated

import typer

from biounet_edge.cli.console import say


def gradcam(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Name the tool that this command has become."""
    say(
        "error: heatmaps for any ONNX classifier are a tool of their own: run `onnx-gradcam add MODEL.onnx "
        "-o OUT.onnx`, or `python -m onnx_gradcam add ...` where it is not installed",
        style="red",
    )
    raise typer.Exit(2)
