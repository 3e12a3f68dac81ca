"""Writes the results of a run while the run goes on."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from biounet_edge.errors import Category, OutputError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.memory import room_for
from biounet_edge.prediction import Outcome, Prediction, PredictionFailure
from biounet_edge.results.dicom.files import DicomFiles
from biounet_edge.results.images import result_names, write_image_files
from biounet_edge.results.journal import FinishedEntry, Journal
from biounet_edge.results.kinds import Save
from biounet_edge.results.tables import Tables
from biounet_edge.storage import remove_result

_WORKERS = min(4, os.cpu_count() or 1)
_BYTES_PER_PIXEL = {"masks": 6, "dicom-seg": 6, "heatmaps": 12, "probabilities": 12, "dicom-pm": 12}
_QUEUE = 8  # predictions that wait to be written, at most


class ResultWriter:
    """Writes predictions in the background, in bounded memory and in the caller's order.

    A context manager: predictions.csv and predictions.jsonl appear at its end; after an error or Ctrl-C they
    hold the rows that were finished. Each file is complete or absent.
    """

    def __init__(
        self,
        output: Path,
        save: tuple[Save, ...] = (),
        notice: str | None = None,
        *,
        dicom: DicomFiles | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Make the output folder and start the tables.

        Args:
            output: Output folder; made where it is missing.
            save: Kinds of image files to write.
            notice: The bundle's notice, for overlays.
            dicom: Writer of the DICOM kinds; None where there are none.
            journal: Open journal of the output folder, which is told what is finished; or None.

        Raises:
            OutputError: If the folder cannot be written to.
        """
        self._output, self._save, self._notice = output, save, notice
        self._dicom, self._journal = dicom, journal
        self._bytes_per_pixel = max((_BYTES_PER_PIXEL.get(kind, 0) for kind in save), default=0)
        self._pending: deque[_Pending] = deque()
        self._table = Tables(output)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="write")

    def write(self, image: InputImage, outcome: Outcome) -> None:
        """Queue one outcome; wait while the queue is full.

        Args:
            image: The image file.
            outcome: What came of it.

        Raises:
            OutputError: If this or an earlier result cannot be written.
        """
        if self._journal is not None and (isinstance(outcome, Prediction) or _is_unfamiliar(outcome)):
            self._journal.claim(image.stem, outcome.sha256 or "")
        files = self._pool.submit(self._write_files, image, outcome)
        self._queue(_Pending(image.stem, outcome, files, in_journal=False))

    def keep(self, image: InputImage, entry: FinishedEntry) -> None:
        """Queue what an earlier run finished: its files are there, its row is not.

        Args:
            image: The image file.
            entry: What the journal says about it.

        Raises:
            OutputError: If an earlier result cannot be written.
        """
        files: Future[list[str]] = Future()
        files.set_result(entry.files)
        self._queue(_Pending(image.stem, entry.outcome, files, in_journal=True))

    def settle(self) -> None:
        """Wait until all that was queued is written and noted.

        Raises:
            OutputError: If a result cannot be written.
        """
        while self._pending:
            self._record(self._pending[0])
            self._pending.popleft()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is queued and put the tables in place; after an error, with what is done.

        Raises:
            OutputError: If a result cannot be written.
        """
        if error is not None:
            self._abandon()
            return
        try:
            self.settle()
        except BaseException:
            self._abandon()
            raise
        self._pool.shutdown()
        self._table.close()

    def _abandon(self) -> None:
        """Keep the finished rows; what fails here follows from the error that is already on its way."""
        self._pool.shutdown(cancel_futures=True)
        for item in self._pending:
            try:
                self._record(item)
            except Exception:  # it was cancelled or failed, and has the row that it had, if any
                with suppress(Exception):
                    self._add_earlier(item)
        with suppress(OutputError):
            self._table.close()

    def _write_files(self, image: InputImage, outcome: Outcome) -> list[str]:
        if isinstance(outcome, Prediction):
            height, width = outcome.size
            # Beside others as far as memory goes, those that are being decoded included.
            with room_for(height * width * self._bytes_per_pixel, "its results", must_fit=False):
                files = write_image_files(self._output, image.stem, outcome, self._save, self._notice)
                return files + self._write_dicom(image, outcome)
        if not _is_unfamiliar(outcome):
            return []
        for name in result_names(image.stem):  # of an earlier run that assessed it all the same
            remove_result(self._output, name)
        return self._write_dicom(image, outcome)

    def _write_dicom(self, image: InputImage, outcome: Outcome) -> list[str]:
        return self._dicom.write(self._output, image, outcome) if self._dicom else []

    def _queue(self, item: "_Pending") -> None:
        self._pending.append(item)
        while self._pending and (len(self._pending) > _QUEUE or self._pending[0].files.done()):
            self._record(self._pending[0])
            self._pending.popleft()

    def _record(self, item: "_Pending") -> None:
        files = item.files.result()
        # What cannot be told from its content, such as a file that was locked, is tried again, and so is what
        # could not be written as DICOM.
        failed = item.outcome.sha256 is None or (self._dicom and item.stem in self._dicom.problems)
        if self._journal is not None and not item.in_journal:
            if not failed:
                self._journal.add(item.stem, item.outcome, files)
            elif item.outcome.sha256 is not None:
                self._journal.end(item.outcome.sha256)
        self._table.add(item.outcome, files)

    def _add_earlier(self, item: "_Pending") -> None:
        """Add the row of what is computed again where the earlier result is still there."""
        if self._journal is not None and item.outcome.sha256 is not None:
            entry = self._journal.find(item.stem, item.outcome.sha256)
            if entry is not None:
                self._table.add(replace(entry.outcome, source=item.outcome.source), entry.files)


def _is_unfamiliar(outcome: PredictionFailure) -> bool:
    return outcome.category is Category.UNFAMILIAR


@dataclass(frozen=True, slots=True)
class _Pending:
    """An outcome whose files are being written."""

    stem: str
    outcome: Outcome
    files: Future[list[str]]
    in_journal: bool
