"""Commands of `python -m train`. Each parses, calls one function, prints."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

from biounet_edge.errors import BackendUnavailableError, BiounetEdgeError

app = typer.Typer(
    help="Train Bio-U-Net.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
console = Console(stderr=True, highlight=False)

SideOption = Annotated[Literal["train", "validation", "test"], typer.Option(help="Side of the split.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Data source by its name; may be left out where there is one.")
]
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
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the configuration's seed.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    precision: Annotated[
        Literal["float32", "bfloat16", "float16", "float64"],
        typer.Option(help="Of forward and backward passes; float64 is for comparing runs."),
    ] = "float32",
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Images in one pass; larger batches are accumulated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Time between checkpoints within an epoch.")
    ] = 10.0,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and stop.")] = False,
) -> None:
    """Train a model; started again on the same run folder, go on where it stopped.

    For several GPUs: torchrun --nproc-per-node N -m train fit ...
    """
    from train.config import load_config
    from train.engine import Machine
    from train.fit import fit as fit_model

    folder = run or Path("runs") / config.stem
    loaded = load_config(config)
    if seed is not None:
        loaded = loaded.model_copy(update={"seed": seed})
    machine = Machine(device, precision, micro_batch, workers, checkpoint_minutes)
    with _progress() as progress:
        reporter = ProgressReporter(progress)
        checkpoint = fit_model(loaded, config, data_root, folder, reporter, machine, plan_only=plan)
    if checkpoint:
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


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    source: Annotated[
        str | None, typer.Option(help="Data source by its name; may be left out where there is one.")
    ] = None,
    side: SideOption = "test",
    data_root: DataRoot = Path("data"),
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; default RUN/evaluation/<source>-<side>.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="What localises, may be repeated: grad_cam, decoder (these two by default), "
            "grad_cam_plus_plus, layer_cam, lime."
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="A quick look at a seeded sample of this many images.")
    ] = None,
    lime_samples: Annotated[int, typer.Option(min=2, help="Perturbed copies of an image for LIME.")] = 200,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of an interval.")] = 2000,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the network runs.")] = "auto",
) -> None:
    """Judge a trained model on held-out images; write evaluation.json and evaluation.md, print the latter."""
    with _study_extra("evaluate"), _progress() as progress:
        from train.engine import Engine, Machine
        from train.evaluation.evaluate import evaluate as evaluate_run
        from train.evaluation.judge import Options
        from train.evaluation.methods import known_methods
        from train.evaluation.page import format_page

        options = Options(
            methods=known_methods(method) if method else None,
            images=images,
            lime_samples=lime_samples,
            resamples=resamples,
        )
        place, reporter = Engine(Machine(device)).device, ProgressReporter(progress)
        evaluation = evaluate_run(run, data_root, source, side, options, output, place, reporter)
    typer.echo(format_page(evaluation), nl=False)


@app.command()
def tables(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of finished and evaluated runs.", metavar="RUN")
    ] = None,
    source: SourceOption = None,
    output: Annotated[Path | None, typer.Option(help="Markdown file to write as well.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file whose annotated data Table 1 counts; default the test images."),
    ] = None,
    data_root: DataRoot = Path("data"),
) -> None:
    """Print the paper's Tables 1 to 7 as Markdown, our figures beside the paper's."""
    from train.checkpoint import write_text
    from train.config import load_config
    from train.tables.counts import count_sources
    from train.tables.tables import format_tables

    counts = count_sources(load_config(config), data_root) if config else None
    text = format_tables(runs or [], source, counts)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, text)
    typer.echo(text, nl=False)


@app.command()
def panel(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, in the order of the maps.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")],
    data_root: DataRoot = Path("data"),
    source: SourceOption = None,
    images_per_indicator: Annotated[int, typer.Option(min=1, help="Lines for each indicator.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other images.")] = 0,
    lime_samples: Annotated[int, typer.Option(min=2, help="Perturbed copies of an image for LIME.")] = 200,
) -> None:
    """Draw held-out images, their true masks and each method's maps, as the paper's Figure 3."""
    with _study_extra("panel"), _progress() as progress:
        from train.tables.panel_figure import draw_panel
        from train.tables.panels import explain_examples

        reporter = ProgressReporter(progress)
        examples = explain_examples(
            runs, data_root, source, images_per_indicator, seed, lime_samples, reporter
        )
        draw_panel(examples, output)
    typer.echo(output)


@app.command()
def curves(
    run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")],
) -> None:
    """Draw the losses and validation figures of a run over its epochs."""
    with _study_extra("curves"):
        from train.tables.curves import draw_curves

        draw_curves(run, output)
    typer.echo(output)


@contextmanager
def _study_extra(command: str) -> Iterator[None]:
    """Say which extra brings what a command needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"{command} needs {error.name}, which is not installed; run `pip install -e .[study]`"
        ) from error


def main() -> None:
    """Run the command line; a known error is one sentence and exit code 1."""
    try:
        app()
    except BiounetEdgeError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(1)
