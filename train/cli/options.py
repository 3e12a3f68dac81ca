"""Options and arguments that several commands share, each written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SourceArgument = Annotated[str, typer.Argument(help="Data source by its name in the configuration.")]
SideOption = Annotated[Literal["train", "validation", "test"], typer.Option(help="Side of the split.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Data source by its name; may be left out where there is one.")
]
DataRootOption = Annotated[
    Path, typer.Option(help="Folder that the configuration's data paths are relative to.")
]
LimeSamplesOption = Annotated[int, typer.Option(min=2, help="Perturbed copies of an image for LIME.")]
