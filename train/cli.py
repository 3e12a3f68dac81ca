"""Commands of `python -m train`. Each parses, calls one function, prints."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from biounet_edge.errors import BiounetEdgeError
from train import judging_cli
from train.options import DataRoot, SideOption
from train.terminal import ProgressReporter, console, show_progress

app = typer.Typer(
    help="Train Bio-U-Net.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.command()
def fit(
    config: Annotated[Path, typer.Argument(help="TOML file that describes the run.")],
    data_root: DataRoot = Path("data"),
    run: Annotated[
        Path | None,
        typer.Option("--run", "--run-folder", help="Run folder; default runs/<name of the configuration>."),
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

    For several GPUs: torchrun --nproc-per-node N -m train fit ... (torchrun has options that begin with
    --run: name the folder with --run-folder there)
    """
    from train.config.run import load_config
    from train.engine import Machine
    from train.fit import fit as fit_model

    folder = run or Path("runs") / config.stem
    loaded = load_config(config)
    if seed is not None:
        loaded = loaded.model_copy(update={"seed": seed})
    machine = Machine(device, precision, micro_batch, workers, checkpoint_minutes)
    with show_progress() as progress:
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

    with show_progress() as progress:
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

    with show_progress() as progress:
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
    from train.config.run import load_config
    from train.scoring.predictions import held_out

    for record in held_out(load_config(config), data_root, side, source):
        typer.echo(record.image)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="Folder that `biounet-edge predict` wrote.")],
    config: Annotated[Path, typer.Argument(help="TOML file of the run that trained the model.")],
    source: Annotated[str, typer.Argument(help="Data source by its name in the configuration.")],
    side: SideOption = "test",
    data_root: DataRoot = Path("data"),
    bundle: Annotated[
        Path, typer.Option(help="Bundle that predicted; its operating points cut the masks.")
    ] = Path("engines/demo"),
) -> None:
    """Judge the predictions of the images that `list` names, as Markdown tables."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.evaluation.bootstrap import Draws
    from train.config.run import load_config
    from train.scoring.masks import score_masks
    from train.scoring.page import format_scores
    from train.scoring.predictions import Predictions, held_out
    from train.scoring.probabilities import score_diagnosis, score_presence

    loaded = Predictions(predictions, held_out(load_config(config), data_root, side, source))
    points = Bundle.open(bundle).manifest.operating_points
    draws = Draws()
    masks = []
    if (predictions / "probabilities").is_dir():
        masks = list(score_masks(loaded, {name: point.mask for name, point in points.items()}, draws))
    diagnosis, presence = score_diagnosis(loaded, draws), score_presence(loaded, draws)
    typer.echo(format_scores(list(diagnosis), list(presence), masks))


app.add_typer(judging_cli.app)


def main() -> None:
    """Run the command line; a known error is one sentence and exit code 1."""
    try:
        app()
    except BiounetEdgeError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(1)
