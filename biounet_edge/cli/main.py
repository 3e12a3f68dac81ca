"""The `biounet-edge` command and its subcommands, each of which parses, calls the library and prints.

Results go to stdout, everything else to stderr. Exit codes: 0 all done, 1 a known error, 2 usage, 3 some
inputs failed and the rest are done, 130 interrupted. Heavy imports are inside the commands, so that --help
is quick.
"""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from biounet_edge.cli.benchmark import benchmark
from biounet_edge.cli.build import build
from biounet_edge.cli.commands import make_app
from biounet_edge.cli.doctor import doctor
from biounet_edge.cli.info import info
from biounet_edge.cli.predict import predict
from biounet_edge.cli.verify import verify
from biounet_edge.cli.watch import watch
from biounet_edge.version import __version__

app = make_app()


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
