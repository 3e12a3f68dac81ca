"""A run over many images into an output folder: what is finished is kept, the rest is computed and written.

Batches follow the order of the images, and are kept or computed as a whole: a library may round an image
differently in a batch of another size. So a run that was stopped and continued with the same batch size
writes the very bytes of an uninterrupted one.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from biounet_edge.errors import ImageError, InputError, OutputError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.file import checksum
from biounet_edge.prediction import Outcome
from biounet_edge.predictor import Predictor
from biounet_edge.results.dicom.files import DicomFiles
from biounet_edge.results.html import ReportWriter, forget_cards
from biounet_edge.results.html.entry import PICTURE_PX
from biounet_edge.results.journal import FinishedEntry, Journal
from biounet_edge.results.kinds import Save
from biounet_edge.results.overlay import OVERLAY_PX
from biounet_edge.results.writer import ResultWriter
from biounet_edge.runs.fingerprint import fingerprint

HASH_CHARACTERS = 32
"""Characters of the SHA-256 in an anonymous name: 128 bits, so that no two images share one by accident."""

_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is done."""

    save: tuple[Save, ...] = ()
    """Kinds of image files to write."""
    batch_size: int = 8
    """Images that the backend computes at once."""
    resume: bool = True
    """Whether to keep what an earlier run finished."""
    anonymous: bool = False
    """Whether names are replaced by hashes of the content, in all that is written."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One image of a run."""

    outcome: Outcome
    """Its prediction or failure; without arrays if it was kept."""
    kept: bool
    """Whether an earlier run had finished it."""


def run_folder(
    predictor: Predictor,
    images: Sequence[InputImage],
    output: Path,
    options: RunOptions,
    dicom: DicomFiles | None = None,
) -> Generator[Finished, None, None]:
    """Read images, write their results, and skip what an earlier run finished.

    The tables appear when the iterator ends, is closed or fails, and hold what was finished until then.

    Args:
        predictor: The loaded bundle.
        images: What to read, in the order of the tables.
        output: Output folder; made where it is missing.
        options: How.
        dicom: Writer of the DICOM kinds; None where there are none.

    Yields:
        What came of each image, in order.

    Raises:
        OutputError: If a result cannot be written, or another run writes to the folder.
        InputError: If the run is anonymous, and the folder has results with file names or DICOM files, which
            carry the patient's name, are to be written.
    """
    if options.anonymous and dicom is not None and dicom.kinds:
        raise InputError(
            f"{', '.join(dicom.kinds)} carry the name of the patient from their source: leave them out of "
            "--save, or leave --anonymous out"
        )
    stream = partial(predictor.stream, batch_size=options.batch_size, preview_px=_preview_px(options.save))
    with _RunOutput(predictor, images, output, options, dicom) as run:
        for kept, tasks in _parts(run.tasks, options.batch_size):
            if kept:
                for task in tasks:
                    yield run.keep(task)
            else:
                for task, outcome in zip(tasks, stream(task.image.source for task in tasks), strict=True):
                    yield run.write(task, outcome)


@dataclass(frozen=True, slots=True)
class _Task:
    """An image and, if it was finished before, the checksum of its content."""

    image: InputImage
    sha256: str | None


class _RunOutput:
    """The output folder of a run: its journal, tables and report, which are opened and closed together.

    A context manager. What an earlier run finished stays in the tables and the report, even if this run ends
    before it reaches it.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[InputImage],
        output: Path,
        options: RunOptions,
        dicom: DicomFiles | None,
    ) -> None:
        notice, run = predictor.bundle.manifest.notice, fingerprint(predictor, options.save)
        with ExitStack() as stack:
            self._journal = stack.enter_context(
                Journal(output, run, resume=options.resume, anonymous=options.anonymous)
            )
            self._report = stack.enter_context(_report(predictor, output, options, len(images)))
            # Before any table is opened: if planning is stopped, the earlier tables remain.
            self.tasks = _plan(images, self._journal, self._report, options.anonymous)
            self._tables = stack.enter_context(
                ResultWriter(output, options.save, notice, dicom=dicom, journal=self._journal)
            )
            self._open = stack.pop_all()
        self._taken = 0

    def keep(self, task: _Task) -> Finished:
        """Keep the results of the next task, which an earlier run finished."""
        self._taken += 1
        entry = self._entry(task)
        self._tables.keep(task.image, entry)
        if self._report:
            self._report.keep(task.image, entry.outcome)
        return Finished(entry.outcome, kept=True)

    def write(self, task: _Task, outcome: Outcome) -> Finished:
        """Write the next task's results."""
        self._taken += 1
        image, named = self._named(task.image, outcome)
        self._tables.write(image, named)
        if self._report:
            self._report.write(image, named)
        return Finished(named, kept=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._keep_rest()
        finally:
            self._open.__exit__(kind, error, trace)

    def _keep_rest(self) -> None:
        """Keep the tasks that were not reached; what fails here follows from the error that ends the run."""
        for task in self.tasks[self._taken :]:
            if task.sha256 is None:
                continue
            with suppress(OutputError):
                self._tables.keep(task.image, self._entry(task))
            if self._report:
                with suppress(OutputError):
                    self._report.keep(task.image, self._entry(task).outcome)

    def _entry(self, task: _Task) -> FinishedEntry:
        """Read what the plan has found, under the name that the image has in this run."""
        assert task.sha256 is not None
        entry = self._journal.find(task.image.stem, task.sha256)
        if entry is None:
            raise OutputError(
                f"the results of {task.image.stem} were changed or removed during the run: start it again"
            )
        name = entry.outcome.source if self._journal.anonymous else str(task.image.source)
        return replace(entry, outcome=replace(entry.outcome, source=name))

    def _named(self, image: InputImage, outcome: Outcome) -> tuple[InputImage, Outcome]:
        """Replace the names by hashes if they must not be kept."""
        if not self._journal.anonymous:
            return image, outcome
        name = outcome.sha256[:HASH_CHARACTERS] if outcome.sha256 else f"unreadable-{self._taken}"
        return replace(image, stem=name), replace(outcome, source=name)


def _report(
    predictor: Predictor, output: Path, options: RunOptions, total: int
) -> AbstractContextManager[ReportWriter | None]:
    if "report" not in options.save:
        forget_cards(output)
        return nullcontext()
    level, device = predictor.level, predictor.selection
    return ReportWriter(output, predictor.bundle, level, device, total, resume=options.resume)


def _plan(
    images: Sequence[InputImage], journal: Journal, report: ReportWriter | None, anonymous: bool
) -> list[_Task]:
    """Find what is finished by the images' content as it is now."""
    if len(journal) == 0:
        return [_Task(image, None) for image in images]

    def content(image: InputImage) -> str | None:
        if not anonymous and image.stem not in journal:
            return None
        try:
            return checksum(image.source)
        except (ImageError, MemoryError):
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        checksums = list(pool.map(content, images))
    tasks = []
    for image, sha256 in zip(images, checksums, strict=True):
        if anonymous and sha256 is not None:
            image = replace(image, stem=sha256[:HASH_CHARACTERS])
        entry = None if sha256 is None else journal.find(image.stem, sha256)
        finished = entry is not None and (report is None or report.has(image, entry.outcome))
        tasks.append(_Task(image, sha256 if finished else None))
    return tasks


def _parts(tasks: list[_Task], batch_size: int) -> Iterator[tuple[bool, list[_Task]]]:
    """Yield neighbouring batches that are all kept or all computed, and which of the two it is."""
    batches = (tasks[start : start + batch_size] for start in range(0, len(tasks), batch_size))
    for kept, part in groupby(batches, lambda batch: all(task.sha256 is not None for task in batch)):
        yield kept, [task for batch in part for task in batch]


def _preview_px(save: tuple[Save, ...]) -> int:
    """Return the longer side of the photographs that results need, in pixels; 0 where they need none."""
    report_px = PICTURE_PX if "report" in save else 0
    return max(report_px, OVERLAY_PX) if {"overlays", "dicom-sc"} & set(save) else report_px
