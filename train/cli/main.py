"""The commands of `python -m train`, each of which parses, calls one function and prints.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a known error, 2 usage,
130 interrupted. Heavy imports are inside the commands, so that --help is quick.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from biounet_edge.errors import BiounetEdgeError
from train.cli.console import say
from train.cli.fit import fit
from train.cli.scoring import list_images, score
from train.cli.study import curves, evaluate, panel, tables
from train.cli.synthetic_data import paint, synthesize


class _Commands(TyperGroup):
    """The one place where known errors become a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BiounetEdgeError as error:
            say(f"error: {error}", style="red")
            raise typer.Exit(1) from error


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _options() -> None:
    """Train Bio-U-Net."""


app.command()(fit)
app.command()(synthesize)
app.command()(paint)
app.command("list")(list_images)
app.command()(score)
app.command()(evaluate)
app.command()(tables)
app.command()(panel)
app.command()(curves)


def main() -> None:
    """Run the command line."""
    app()
