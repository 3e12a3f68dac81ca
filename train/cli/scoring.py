"""`python -m train list` and `score`: judge the predictions of an exported bundle."""

from pathlib import Path
from typing import Annotated

import typer

from train.cli.options import DataRootOption, SideOption, SourceArgument
from train.cli.requirements import study_requirements


def list_images(
    config: Annotated[Path, typer.Argument(help="TOML file of the run.")],
    source: SourceArgument,
    side: SideOption = "test",
    data_root: DataRootOption = Path("data"),
) -> None:
    """Print the paths of the images on one side of a run's split."""
    from train.config.run import load_config
    from train.data.held_out import held_out

    for record in held_out(load_config(config), data_root, side, source):
        typer.echo(record.image)


def score(
    predictions: Annotated[Path, typer.Argument(help="Folder that `biounet-edge predict` wrote.")],
    config: Annotated[Path, typer.Argument(help="TOML file of the run that trained the model.")],
    source: SourceArgument,
    side: SideOption = "test",
    data_root: DataRootOption = Path("data"),
    bundle: Annotated[
        Path, typer.Option(help="Bundle that predicted; its operating points cut the masks.")
    ] = Path("engines/demo"),
) -> None:
    """Judge the predictions of the images that `list` names, as Markdown tables."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.evaluation.bootstrap import Draws
    from train.config.run import load_config
    from train.data.held_out import held_out
    from train.scoring.predictions import Predictions
    from train.scoring.probabilities import score_diagnosis, score_presence

    with study_requirements("score"):
        from train.scoring.masks import score_masks
        from train.scoring.page import format_scores

    loaded = Predictions(predictions, held_out(load_config(config), data_root, side, source))
    points = Bundle.open(bundle).manifest.operating_points
    draws = Draws()
    masks = []
    if (predictions / "probabilities").is_dir():
        masks = list(score_masks(loaded, {name: point.mask for name, point in points.items()}, draws))
    diagnosis, presence = score_diagnosis(loaded, draws), score_presence(loaded, draws)
    typer.echo(format_scores(list(diagnosis), list(presence), masks))
