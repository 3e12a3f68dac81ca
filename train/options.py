"""Options that several commands of `python -m train` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SideOption = Annotated[Literal["train", "validation", "test"], typer.Option(help="Side of the split.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Data source by its name; may be left out where there is one.")
]
DataRoot = Annotated[Path, typer.Option(help="Folder that the configuration's data paths are relative to.")]
