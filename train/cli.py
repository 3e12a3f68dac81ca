"""Commands of `python -m train`. Each parses, calls one function, prints."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from biounet_edge.errors import BiounetEdgeError

app = typer.Typer(
    help="Train Bio-U-Net.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
console = Console(stderr=True, highlight=False)

SideOption = Annotated[Literal["train", "validation", "test"], typer.Option(help="Side of the split.")]
DataRoot = Annotated[Path, typer.Option(help="Folder that the configuration's data paths are relative to.")]


class ProgressReporter:
    """Shows a run on the terminal: one bar a stage, one line an epoch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Replace the bar by a new one."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, completed=done)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


@app.command()
def fit(
    config: Annotated[Path, typer.Argument(help="TOML file that describes the run.")],
    data_root: DataRoot = Path("data"),
    run: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/<name of the configuration>.")
    ] = None,
) -> None:
    """Train a model; started again on the same run folder, go on where it stopped."""
    from train.config import load_config
    from train.fit import fit as fit_model

    folder = run or Path("runs") / config.stem
    with _progress() as progress:
        checkpoint = fit_model(load_config(config), config, data_root, folder, ProgressReporter(progress))
    typer.echo(checkpoint)


@app.command()
def synthesize(
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    images: Annotated[int, typer.Option(min=1, help="How many images.")] = 100,
    seed: Annotated[int, typer.Option(help="Another seed, other images.")] = 0,
    height: Annotated[int, typer.Option(min=64, help="Pixels.")] = 450,
    width: Annotated[int, typer.Option(min=64, help="Pixels.")] = 600,
) -> None:
    """Write synthetic dermoscopy with true masks in the layout of ISIC 2018."""
    from train.synthesis import write_isic2018

    with _progress() as progress:
        reporter = ProgressReporter(progress)
        reporter.begin("synthesize", images)
        write_isic2018(
            out, images, seed, height=height, width=width, progress=lambda done, total: reporter.advance()
        )


@app.command()
def paint(
    images: Annotated[Path, typer.Argument(help="Folder of real photographs.")],
    lesion_masks: Annotated[Path, typer.Argument(help="Folder of <image>_segmentation.png.")],
    presence: Annotated[Path, typer.Argument(help="CSV with a 0/1 column for each indicator.")],
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    seed: Annotated[int, typer.Option(help="Another seed, other structures.")] = 0,
    size: Annotated[int, typer.Option(min=64, help="Height and width of what is written, pixels.")] = 512,
) -> None:
    """Paint indicators into real photographs that lack them, in the layout of ISIC 2018."""
    from train.painting import write_painted

    with _progress() as progress:
        reporter = ProgressReporter(progress)
        reporter.begin("paint", 0)
        for _ in write_painted(images, lesion_masks, presence, out, seed, size):
            reporter.advance()


@app.command("list")
def list_images(
    config: Annotated[Path, typer.Argument(help="TOML file of the run.")],
    source: Annotated[str, typer.Argument(help="Data source by its name in the configuration.")],
    side: SideOption = "test",
    data_root: DataRoot = Path("data"),
) -> None:
    """Print the paths of the images on one side of a run's split."""
    from train.config import load_config
    from train.scoring import held_out

    for record in held_out(load_config(config), data_root, side, source):
        typer.echo(record.image)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="Folder that `biounet-edge predict` wrote.")],
    config: Annotated[Path, typer.Argument(help="TOML file of the run that trained the model.")],
    source: Annotated[str, typer.Argument(help="Data source by its name in the configuration.")],
    side: SideOption = "test",
    data_root: DataRoot = Path("data"),
) -> None:
    """Judge the predictions of the images that `list` names, as a Markdown table."""
    from train.config import load_config
    from train.scoring import format_table, held_out, score_predictions

    records = held_out(load_config(config), data_root, side, source)
    typer.echo(format_table(list(score_predictions(predictions, records))))


def main() -> None:
    """Run the command line; a known error is one sentence and exit code 1."""
    try:
        app()
    except BiounetEdgeError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(1)
