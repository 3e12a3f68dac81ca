"""Writes the report of a run while the run goes on."""

import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

from biounet_edge.bundle import Bundle
from biounet_edge.discovery import InputImage
from biounet_edge.manifest import Level
from biounet_edge.prediction import Prediction, PredictionFailure
from biounet_edge.report.card import render_card, render_failure
from biounet_edge.report.entry import data_url, make_entry
from biounet_edge.report.page import Counts, Run, render_page
from biounet_edge.result_files import output_error, temporary_beside, write_atomically

REPORT_NAME = "report.html"

EMBEDDED = 200
"""Largest run whose photographs are in the page itself; above, they are files in report/ beside it."""


class ReportWriter:
    """Writes report.html in bounded memory, a card for each photograph in the order they come.

    A context manager: the report appears at its end, also by an error or Ctrl-C, then with the photographs
    that were finished and a remark that it is incomplete. It is there whole or not at all.
    """

    def __init__(self, output: Path, bundle: Bundle, level: Level, device: str, total: int) -> None:
        """Starts the report.

        Args:
            output: Output folder; made where it is missing.
            bundle: The bundle that predicts.
            level: How much it computes.
            device: What it is computed on, in words.
            total: Number of photographs that will come.

        Raises:
            OutputError: If the folder cannot be written to.
        """
        self._output, self._path = output, output / REPORT_NAME
        self._run = Run(bundle.manifest, bundle.checksum, level, device, total, total > EMBEDDED)
        self._counts = Counts()
        self._failures: list[str] = []
        self._size_bytes = 0  # of whole cards: on a full disk, half a card may lie behind them
        self._temporary = temporary_beside(self._path)
        try:
            output.mkdir(parents=True, exist_ok=True)
            self._cards: BinaryIO = self._temporary.open("w+b")
        except OSError as error:
            raise output_error(self._path, error) from error

    def write(self, image: InputImage, outcome: Prediction | PredictionFailure) -> None:
        """Adds one outcome.

        Args:
            image: The image file.
            outcome: What came of it; a prediction with its `preview`.

        Raises:
            InputError: If a prediction has no preview.
            OutputError: If the report or a picture cannot be written.
        """
        if isinstance(outcome, PredictionFailure):
            self._failures.append(render_failure(outcome))
            self._counts.failures += 1
            return
        entry = make_entry(outcome)
        if self._run.beside:
            name = f"report/{image.stem}.jpg"
            write_atomically(self._output / name, entry.photograph)
            url = quote(os.fsencode(name))
        else:
            url = data_url("image/jpeg", entry.photograph)
        order = self._counts.read + self._counts.failures + 1
        card = render_card(entry, image.stem, order, url, self._run.manifest).encode() + b"\n"
        try:
            self._cards.write(card)
        except OSError as error:
            raise output_error(self._path, error) from error
        self._size_bytes += len(card)
        self._counts.read += 1
        self._counts.melanoma += outcome.melanoma

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the report in its place; after an error only if that succeeds.

        Raises:
            OutputError: If it cannot be written.
        """
        if error is None:
            self._close()
        else:
            with suppress(OSError):
                self._close()

    def _close(self) -> None:
        """Puts the page together: what stands before the cards is known only now."""
        before, after = render_page(self._run, self._counts, self._failures, datetime.now().astimezone())
        page = temporary_beside(self._path)
        try:
            with page.open("wb") as file:
                file.write(before.encode())
                self._cards.truncate(self._size_bytes)
                self._cards.seek(0)
                shutil.copyfileobj(self._cards, file, 1 << 20)
                file.write(after.encode())
            os.replace(page, self._path)
        except OSError as error:
            raise output_error(self._path, error) from error
        finally:
            with suppress(OSError):
                self._cards.close()
            for path in (page, self._temporary):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
