"""From a run folder to `evaluation.json` and `evaluation.md`."""

from pathlib import Path
from typing import Final

import torch

from biounet_edge.errors import InputError
from train.checkpoint import load_model, write_text
from train.config.run import TrainConfig, load_config
from train.data.held_out import held_out
from train.data.splits import Side
from train.evaluation.judge import Options, judge
from train.evaluation.page import format_page
from train.evaluation.report import FILE_NAME, Evaluation
from train.run import Reporter, Silence

PAGE_NAME: Final = "evaluation.md"

CPU: Final = torch.device("cpu")


def evaluate(
    run: Path,
    data_root: Path,
    source: str | None = None,
    side: Side = "test",
    options: Options | None = None,
    output: Path | None = None,
    device: torch.device = CPU,
    report: Reporter | None = None,
) -> Evaluation:
    """Judge a finished run and write `evaluation.json` and `evaluation.md`.

    Args:
        run: Run folder with config.toml, model.safetensors and model.json.
        data_root: Folder that the configuration's data paths are relative to.
        source: Name of the data source; None where the configuration has one alone.
        side: Side of the run's split.
        options: Methods, sample, bootstrap; None for the usual ones.
        output: Folder for the two files; None for `default_output`.
        device: Where the network runs.
        report: Told about each batch of images.

    Returns:
        What was written to evaluation.json.

    Raises:
        InputError: If there is no such run, source, side or method.
        CheckpointError: If the run has no finished model.
    """
    config_path = run / "config.toml"
    if not config_path.is_file():
        raise InputError(f"expected a run folder with config.toml at {run}, found none; train one first")
    config = load_config(config_path)
    name = choose_source(config, source)
    model, info = load_model(run)
    records = held_out(config, data_root, side, name)
    evaluation = judge(model.to(device), info, records, side, options or Options(), report or Silence())
    folder = output or default_output(run, name, side)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE_NAME, evaluation.to_json())
    write_text(folder / PAGE_NAME, format_page(evaluation))
    return evaluation


def default_output(run: Path, source: str, side: Side) -> Path:
    """Folder of a run's evaluation."""
    return run / "evaluation" / f"{source}-{side}"


def choose_source(config: TrainConfig, source: str | None) -> str:
    """The source that was asked for, or the only one.

    Raises:
        InputError: If none was asked for and the configuration has several.
    """
    names = [entry.name for entry in config.data.annotated]
    if source is None and len(names) != 1:
        raise InputError(f"the configuration has {len(names)} sources; choose one of {', '.join(names)}")
    return source or names[0]
