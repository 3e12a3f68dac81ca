"""`python -m export`: a checkpoint becomes a bundle."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from export.commands.bundle import bundle


class _BundleFirst(TyperGroup):
    """Reads `python -m export SOURCE OUT` as `python -m export bundle SOURCE OUT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_BundleFirst, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)
app.command()(bundle)


@app.command(
    hidden=True,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def gradcam(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Name the tool that this command has become."""
    typer.echo(
        "error: heatmaps for any ONNX classifier are a tool of their own: run `onnx-gradcam add MODEL.onnx "
        "-o OUT.onnx`, or `python -m onnx_gradcam add ...` where it is not installed",
        err=True,
    )
    raise typer.Exit(2)


@app.callback()
def main() -> None:
    """Export trained models as ONNX graphs with their explanations inside.

    `python -m export SOURCE OUT` is short for the command bundle.
    """


if __name__ == "__main__":
    app()
