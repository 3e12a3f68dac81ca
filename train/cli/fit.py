"""`python -m train fit`: trains a model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train.cli.options import DataRootOption
from train.cli.progress import ProgressReporter, show_progress


def fit(
    config: Annotated[Path, typer.Argument(help="TOML file that describes the run.")],
    data_root: DataRootOption = Path("data"),
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
