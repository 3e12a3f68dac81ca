"""`python -m export`: a checkpoint becomes a bundle, and any ONNX classifier gets heatmaps."""

from typing import Any

import typer
from typer.core import TyperGroup

from export.commands.bundle import bundle
from onnx_gradcam.cli.add import gradcam


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
app.command()(gradcam)


@app.callback()
def main() -> None:
    """Export trained models as ONNX graphs with their explanations inside.

    `python -m export SOURCE OUT` is short for the command bundle.
    """


if __name__ == "__main__":
    app()
