"""A run over many images into an output folder: what is finished is kept, the rest is computed and written.

Batches are cut by the images' places in the run and are kept or computed whole. A library may round an image
by a bit differently in a batch of another size, so only this way does a run that was stopped, and continued
with the same batch size, write the very bytes of one that was not.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

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
from biounet_edge.version import __version__

HASH_CHARACTERS = 32
"""Of the SHA-256 in an anonymous name: 128 bits, so that no two images meet by accident."""

_READERS = min(4, os.cpu_count() or 1)
_LIBRARIES = (
    "numpy", "pillow", "pillow-heif", "simplejpeg", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg", "pylibjpeg-rle", "highdicom",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is done."""

    save: tuple[Save, ...] = ()
    """Kinds of image files to write."""
    batch_size: int = 8
    """Images that the backend computes at once."""
    resume: bool = True
    """Whether what an earlier run finished is kept."""
    anonymous: bool = False
    """Whether names are replaced by hashes of the content, in all that is written."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One image of a run."""

    outcome: Outcome
    """What came of it; without arrays where it was kept."""
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

    The tables are put in their place when the iterator ends, is closed or fails, then with what was finished.

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


def run_key(predictor: Predictor, save: tuple[Save, ...]) -> str:
    """Identify all that the bytes of a result depend on beside the image.

    Args:
        predictor: The loaded bundle.
        save: Kinds of image files that are written.

    Returns:
        A SHA-256 in hexadecimal.
    """
    backend = predictor.backend
    parts = {
        "version": __version__,
        "opencv": cv2.__version__,  # its distribution has several names
        "libraries": {name: _installed(name) for name in _LIBRARIES},
        "bundle": predictor.bundle.checksum,
        "level": predictor.level,
        "save": save,
        "device": backend.device,
        "library": backend.description,
        "precision": backend.precision,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class _Task:
    """An image and, where it was finished before, the checksum of its content."""

    image: InputImage
    sha256: str | None


class _RunOutput:
    """The output folder of a run: its journal, tables and report, which are opened and closed together.

    A context manager. What an earlier run finished stays in the tables and the report, also where this run
    ends before it comes to it.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[InputImage],
        output: Path,
        options: RunOptions,
        dicom: DicomFiles | None,
    ) -> None:
        notice, key = predictor.bundle.manifest.notice, run_key(predictor, options.save)
        with ExitStack() as stack:
            self._journal = stack.enter_context(
                Journal(output, key, resume=options.resume, anonymous=options.anonymous)
            )
            self._report = stack.enter_context(_report(predictor, output, options, len(images)))
            # Before any table is opened: what stops it leaves those of the earlier run in their place.
            self.tasks = _plan(images, self._journal, self._report, options.anonymous)
            self._tables = stack.enter_context(
                ResultWriter(output, options.save, notice, dicom=dicom, journal=self._journal)
            )
            self._open = stack.pop_all()
        self._taken = 0

    def keep(self, task: _Task) -> Finished:
        """Keep the next task's results, which are there."""
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
        """Keep what no task was taken for; what fails here follows from the error that is on its way."""
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
        """Take the names away where they must not be kept."""
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
