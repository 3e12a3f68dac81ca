"""The commands of `python -m export`, each of which parses, calls one function and prints.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a known error, 2 usage, 3 a precision
missed a gate and the rest is written, 130 interrupted. Heavy imports are inside the commands, so that --help
is quick.
"""

from typing import Any

from biounet_edge.cli.commands import CommandGroup, make_app
from biounet_edge.errors import BiounetEdgeError
from export.cli.bundle import bundle
from export.cli.gradcam import gradcam
from onnx_gradcam.errors import OnnxGradcamError


class _Commands(CommandGroup):
    """Reads `python -m export SOURCE OUT` as `python -m export bundle SOURCE OUT`."""

    KNOWN = (BiounetEdgeError, OnnxGradcamError)
    INTERRUPTED = "interrupted; nothing was written"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


app = make_app(_Commands)


@app.callback()
def _options() -> None:
    """Export trained models as ONNX graphs with their explanations inside.

    `python -m export SOURCE OUT` is short for the command bundle.
    """


app.command()(bundle)
app.command(
    hidden=True,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(gradcam)


def main() -> None:
    """Run the command line."""
    app()
