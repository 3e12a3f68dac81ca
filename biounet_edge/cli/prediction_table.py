"""How `biounet-edge predict` shows its progress and its results to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from biounet_edge.errors import Category
from biounet_edge.indicators import INDICATORS, indicator_label
from biounet_edge.prediction import WARNING, Outcome, Prediction, PredictionFailure
from biounet_edge.results.summary import Counts
from biounet_edge.results.text import printable

_CAPTION = "Per indicator: probability (bold if present, dim if absent) and log-odds added to melanoma."
_CAUTION = f"With a question mark: {WARNING}."

ROWS = 40
"""Rows of the table of predictions; the rest are in predictions.csv."""

_WIDE = 100  # columns of a terminal in which a row needs one line only

_STYLES = {True: "bold", False: "dim", None: ""}  # by presence; None: probability only

_Cell = tuple[tuple[str, ...], str]  # parts of the text, style

_WITHOUT: dict[Category, _Cell] = {
    Category.SKIPPED: (("left out",), "dim"),
    Category.UNFAMILIAR: (("unfamiliar",), "yellow"),
}


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr while the block runs; nothing if stderr is not a terminal.

    Args:
        total: Number of images.

    Yields:
        A function to call once per image.
    """
    console = Console(stderr=True)
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("images", total=total)
        yield lambda: progress.advance(task)


class PredictionTable:
    """The table on stdout. Keeps the text of its first rows and no arrays."""

    def __init__(self, images: int) -> None:
        """Start an empty table.

        Args:
            images: Number of images that are to be read.
        """
        self.total = 0
        self.counts = Counts(images)
        self._cautious = False  # whether a row has numbers of an unfamiliar photograph
        self._rows: list[tuple[str, list[_Cell]]] = []

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and add its row as long as there is room.

        Args:
            outcome: Prediction or failure.
        """
        self.total += 1
        self.counts.add(outcome)
        if len(self._rows) < ROWS:
            self._rows.append((printable(outcome.source), _cells(outcome)))
            self._cautious |= isinstance(outcome, Prediction) and outcome.unfamiliar

    def print(self) -> None:
        """Print the table to stdout."""
        console = Console()
        wide = console.width >= _WIDE
        room = max(18, console.width - (72 if wide else 62))  # the other columns have the rest
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.caption, table.caption_justify = _CAPTION, "left"
        if self._cautious:
            table.caption = f"{_CAPTION} {_CAUTION}"
        table.add_column("Image", no_wrap=True)
        for title in ("melanoma", *map(indicator_label, INDICATORS)):
            table.add_column(title.capitalize().replace(" ", "\n"), justify="right", no_wrap=True)
        for source, cells in self._rows:
            name = source if len(source) <= room else f"…{source[1 - room :]}"
            table.add_row(
                Text(name), *(Text((" " if wide else "\n").join(text), style) for text, style in cells)
            )
        console.print(table)
        if self.total > len(self._rows):
            console.print(f"and {self.total - len(self._rows)} more in predictions.csv", highlight=False)


def _cells(outcome: Outcome) -> list[_Cell]:
    if isinstance(outcome, PredictionFailure):
        return [_WITHOUT.get(outcome.category, (("not read",), "red"))]
    mark = "?" if outcome.unfamiliar else ""
    cells: list[_Cell] = [
        ((f"{outcome.melanoma_probability:.0%}{mark}",), "bold red" if outcome.melanoma else "")
    ]
    for finding in outcome.indicators.values():
        text = f"{finding.probability:.0%}{mark}", f"{finding.contribution:+.1f}{mark}"
        cells.append((text, _STYLES[finding.present]))
    return cells
