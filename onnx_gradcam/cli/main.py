"""The commands of `onnx-gradcam`, and the one place where known errors become a sentence and an exit code."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from onnx_gradcam.cli.add import add
from onnx_gradcam.cli.console import say
from onnx_gradcam.cli.layers import layers
from onnx_gradcam.errors import OnnxGradcamError
from onnx_gradcam.version import __version__


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OnnxGradcamError as error:
            say(f"error: {error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            say("interrupted; nothing was written")
            raise typer.Exit(130) from interrupt


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onnx-gradcam {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Grad-CAM for any ONNX classifier: heatmaps as outputs of the graph itself."""


app.command()(add)
app.command()(layers)
