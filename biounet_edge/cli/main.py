"""The `biounet-edge` command and its subcommands, each of which parses, calls the library and prints.

Results go to stdout, everything else to stderr. Exit codes: 0 all done, 1 a known error, 2 usage, 3 some
inputs failed and the rest are done, 130 interrupted. Heavy imports are inside the commands, so that --help
is quick.
"""

import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from biounet_edge.cli.benchmark import benchmark
from biounet_edge.cli.build import build
from biounet_edge.cli.console import say
from biounet_edge.cli.doctor import doctor
from biounet_edge.cli.info import info
from biounet_edge.cli.predict import predict
from biounet_edge.cli.verify import verify
from biounet_edge.cli.watch import watch
from biounet_edge.errors import BiounetEdgeError
from biounet_edge.version import __version__


class _Commands(TyperGroup):
    """The one place where known errors become a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BiounetEdgeError as error:
            say(f"error: {error}", style="red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            say("interrupted; what was finished is kept", style="red")
            raise typer.Exit(130) from interrupt


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"biounet-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explainable melanoma assessment of dermoscopy photographs."""


app.command()(predict)
app.command()(info)
app.command()(verify)
app.command()(benchmark)
app.command()(build)
app.command()(doctor)
app.command()(watch)


def main() -> None:
    """Run the command; what pip installs as `biounet-edge`."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot encode must not end a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="biounet-edge")
