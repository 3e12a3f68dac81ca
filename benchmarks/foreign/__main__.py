"""`python -m benchmarks.foreign make|compare|table`: foreign pictures, and how many a score turns away.

    python -m benchmarks.foreign make FOLDER --data-root data
    python -m benchmarks.foreign compare FOLDER runs/demo --data-root data
    python -m benchmarks.foreign table foreign/ uda1/ ham10000/ --bundle engines/demo

`make` writes two sets, FOLDER/choose and FOLDER/judge, with a folder per kind. It needs pip, npm, Chromium
and the photographs of a training run: `choose` damages some of its validation side, `judge` some of its
test side. `compare` fits published scores to the training photographs of a finished run and judges them on
FOLDER/choose. `table` reads what `biounet-edge predict` wrote of FOLDER/judge and of familiar photographs.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.foreign.picture import KINDS, SETS, Picture
from benchmarks.foreign.rejection import read_scores, rejection_table
from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import BiounetEdgeError, InputError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where the sets are written.")],
    config: Annotated[Path, typer.Option(help="Run whose split is used.")] = Path("configs/demo.toml"),
    source: Annotated[str, typer.Option(help="Its source of photographs.")] = "ham10000",
    data_root: Annotated[Path, typer.Option(help="Folder of the run's data.")] = Path("data"),
    archives: Annotated[
        Path | None, typer.Option(help="Where packages are kept.", show_default="FOLDER/archives")
    ] = None,
) -> None:
    """Fetch and make the pictures of both sets."""
    from benchmarks.foreign.folder import write_pictures

    try:
        pictures = _pictures(config, source, data_root, archives or folder / "archives")
        counts = write_pictures(folder, pictures)
    except BiounetEdgeError as error:
        raise _stop(error) from error
    table = Table("kind", *SETS, "what it is")
    for kind, meaning in KINDS.items():
        table.add_row(kind, *(str(counts[name, kind]) for name in SETS), meaning)
    table.add_row("all", *(str(sum(counts[name, kind] for kind in KINDS)) for name in SETS), "")
    Console(highlight=False).print(table)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="What `make` wrote.")],
    run: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    data_root: Annotated[Path, typer.Option(help="Folder of the run's data.")] = Path("data"),
    axes: Annotated[
        list[int] | None, typer.Option(help="Principal axes of the model's score, once or more.")
    ] = None,
) -> None:
    """Print, as Markdown, how published scores do on the pictures to choose with."""
    from benchmarks.foreign.features import read_features
    from benchmarks.foreign.published_scores import compare as judge

    try:
        pictures = read_features(run, data_root, folder / "choose")
    except BiounetEdgeError as error:
        raise _stop(error) from error
    header = ("score", "MB", "AUROC", "turned away", "of the worst kind")
    typer.echo(f"| {' | '.join(header)} |\n|---|---:|---:|---:|---|")
    for row in judge(pictures, axes or [64, 128, 256]):
        typer.echo(f"| {' | '.join(row)} |")


@app.command()
def table(
    foreign: Annotated[Path, typer.Argument(help="Predictions of foreign pictures, in a folder per kind.")],
    familiar: Annotated[
        list[Path], typer.Argument(help="Predictions of familiar photographs, a folder per source.")
    ],
    bundle: Annotated[Path, typer.Option(help="The bundle that predicted.")] = Path("engines/demo"),
) -> None:
    """Print, as Markdown, AUROC and the part turned away per kind."""
    try:
        spec = Bundle.open(bundle).manifest.familiarity
        if spec is None:
            raise InputError(f"{bundle} has no score of familiarity; train it with `familiarity_axes`")
        known = {folder.name: list(chain(*read_scores(folder).values())) for folder in familiar}
        text = rejection_table(read_scores(foreign), known, spec.threshold)
    except BiounetEdgeError as error:
        raise _stop(error) from error
    typer.echo(text)


def _pictures(config: Path, source: str, data_root: Path, archives: Path) -> Iterator[Picture]:
    """Yield all pictures of both sets, those that can go wrong first."""
    from benchmarks.foreign.archives import read_archives
    from benchmarks.foreign.damaged import damage_photographs
    from benchmarks.foreign.documents import make_documents
    from benchmarks.foreign.members import read_members, take_members
    from benchmarks.foreign.own_output import make_own_outputs
    from benchmarks.foreign.patterns import make_patterns
    from train.config.run import load_config
    from train.scoring.predictions import held_out

    run = load_config(config)
    choose = [record.image for record in held_out(run, data_root, "validation", source)]
    judge = [record.image for record in held_out(run, data_root, "test", source)]
    return chain(
        make_own_outputs("choose", choose),
        make_own_outputs("judge", judge),
        damage_photographs("choose", choose),
        damage_photographs("judge", judge),
        take_members(read_members(), read_archives(), archives),
        *(make(name) for make in (make_documents, make_patterns) for name in SETS),
    )


def _stop(error: BiounetEdgeError) -> typer.Exit:
    Console(stderr=True).print(f"error: {error}", style="red", markup=False)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
