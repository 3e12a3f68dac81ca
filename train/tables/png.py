"""Figures as PNG files."""

import os
from pathlib import Path

from matplotlib.figure import Figure

from biounet_edge.errors import OutputError


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the folder is made.

    Raises:
        OutputError: If the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            # A figure that pyplot did not make is drawn by Agg: no display, no global state.
            figure.savefig(file, format="png")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error}); choose another --output") from error
