"""The commands of `python -m train`, each of which parses, calls one function and prints.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a known error, 2 usage,
130 interrupted. Heavy imports are inside the commands, so that --help is quick.
"""

from biounet_edge.cli.commands import make_app
from train.cli.fit import fit
from train.cli.scoring import list_images, score
from train.cli.study import curves, evaluate, panel, tables
from train.cli.synthetic_data import paint, synthesize

app = make_app()


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
