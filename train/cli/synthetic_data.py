"""`python -m train synthesize` and `paint`: write data sets whose masks are true by construction."""

from pathlib import Path
from typing import Annotated

import typer

from train.cli.progress import ProgressReporter, show_progress


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
