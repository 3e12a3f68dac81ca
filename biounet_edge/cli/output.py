"""How the command shows its results: tables for people."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from biounet_edge.bundle.folder import Bundle
from biounet_edge.indicators import INDICATORS, indicator_label
from biounet_edge.prediction import Prediction, PredictionFailure
from biounet_edge.results.text import printable

_CAPTION = "Per indicator: probability (bold if present, dim if absent) and log-odds added to melanoma."

ROWS = 40
"""Rows of the table of predictions; the rest are in predictions.csv."""

_WIDE = 100  # columns of a terminal from which on a row needs one line only

_STYLES = {True: "bold", False: "dim", None: ""}  # by presence; None: probability only

_Cell = tuple[tuple[str, ...], str]  # parts of the text, style


def silence_decoders() -> None:
    """Keeps decoders from writing to stderr: what they report is in the reason of the failed image."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.filterwarnings(
        "ignore", module=r"pydicom|highdicom|pylibjpeg|biounet_edge\.(photographs|results)\.dicom"
    )
    for name in ("pydicom", "highdicom", "openjpeg", "libjpeg"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


def share_cores() -> None:
    """Sets the process up for many photographs at once, each in one thread from decoding to its files.

    OpenCV's own threads would take the cores from the others. And glibc gives freed memory back at once where
    it lies in large blocks, so that the kernel clears a thousand pages anew for each photograph's arrays;
    freeing one block of just under its limit of 32 MiB makes it keep what it will need again (mallopt(3),
    M_MMAP_THRESHOLD). No page of that block is ever touched.
    """
    cv2.setNumThreads(1)
    np.empty(31 << 20, np.uint8)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Shows a progress bar on stderr while the block runs; nothing where stderr is no terminal.

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

    def __init__(self) -> None:
        """Starts an empty table."""
        self.total = 0
        self.failures = 0
        self._rows: list[tuple[str, list[_Cell]]] = []

    def add(self, outcome: Prediction | PredictionFailure) -> None:
        """Adds a row, as long as there is room.

        Args:
            outcome: Prediction or failure.
        """
        self.total += 1
        self.failures += isinstance(outcome, PredictionFailure)
        if len(self._rows) < ROWS:
            self._rows.append((printable(outcome.source), _cells(outcome)))

    def print(self) -> None:
        """Prints the table to stdout."""
        console = Console()
        wide = console.width >= _WIDE
        room = max(18, console.width - (72 if wide else 62))  # the other columns have the rest
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.caption, table.caption_justify = _CAPTION, "left"
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


def _cells(outcome: Prediction | PredictionFailure) -> list[_Cell]:
    if isinstance(outcome, PredictionFailure):
        return [(("not read",), "red")]
    cells: list[_Cell] = [((f"{outcome.melanoma_probability:.0%}",), "bold red" if outcome.melanoma else "")]
    for finding in outcome.indicators.values():
        text = f"{finding.probability:.0%}", f"{finding.contribution:+.1f}"
        cells.append((text, _STYLES[finding.present]))
    return cells


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Gathers what `info` shows.

    Args:
        bundle: An opened, hence checked, bundle.

    Returns:
        The manifest with the bundle's folder, checksum and size, ready for JSON.
    """
    size_bytes = sum(spec.bytes for spec in bundle.manifest.files.values())
    where = {"folder": str(bundle.folder), "checksum": bundle.checksum, "size_bytes": size_bytes}
    return where | bundle.manifest.model_dump(mode="json")


def print_bundle(description: dict[str, Any]) -> None:
    """Prints a bundle's description to stdout.

    Args:
        description: From `describe_bundle`.
    """
    spec, melanoma, training = description["input"], description["melanoma"], description["training"]
    rows = {
        "Model": f"{description['name']} {description['version']}",
        "Notice": description["notice"] or "none",
        "Folder": description["folder"],
        "Format": f"{description['format']}, ONNX opset {description['opset']}",
        "Size": f"{description['size_bytes'] / 1e6:.1f} MB, {len(description['files'])} files, checksums fit",
        "Checksum": description["checksum"],
        "Input": f"{spec['height']} x {spec['width']} pixels, {spec['colour_order']}, by {spec['resize']}",
        "Levels": ", ".join(
            f"{name} ({', '.join(level['graphs'])})" for name, level in description["levels"].items()
        ),
        "Melanoma from": f"{melanoma['threshold']:.0%} on (bias {melanoma['bias']:+.2f}, "
        f"temperature {melanoma['temperature']:g})",
        "Encoders": _encoders(description["encoder"]),
        "Indicators from": ", ".join(
            f"{indicator_label(name)} {_presence(description['operating_points'][name]['presence'])}"
            for name in description["indicators"]
        ),
        "Training data": "; ".join(training["data"]),
        "Licence": training["licence"],
    }
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in rows.items():
        table.add_row(title, Text(printable(text)))  # a bundle may come from anyone
    Console().print(table)


def _encoders(spec: dict[str, Any] | None) -> str:
    if spec is None:
        return "not described in format 1"
    width = f", base width {spec['base_width']}" if spec["base_width"] is not None else ""
    common = f", first {spec['common_blocks']} blocks in common" if spec["common_blocks"] else ""
    return f"{spec['family']}{width}, decoder width {spec['decoder_width']}{common}"


def _presence(threshold: float | None) -> str:
    return "probability only" if threshold is None else f"{threshold:.0%}"
