"""A run over many images into an output folder: what is finished is kept, the rest is computed and written.

Batches follow the order of the images, and are kept or computed as a whole: a library may round an image
differently in a batch of another size. So a run that was stopped and continued with the same batch size
writes the very bytes of an uninterrupted one.

What was in work when a run died, killed by the system or by a decoder that crashed, is tried by itself
before all else at the next start; after a second death its batch is computed one by one, where last digits
may differ, and after a third it is skipped and named. So a photograph next to the one that kills is never
blamed for it.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from biounet_edge.errors import InputError, OutputError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.prediction import Outcome
from biounet_edge.predictor import Predictor
from biounet_edge.results.deaths import MOST_DEATHS, skipped, suspects_sentence
from biounet_edge.results.dicom.files import DicomFiles
from biounet_edge.results.html import ReportWriter, forget_cards
from biounet_edge.results.html.entry import PICTURE_PX
from biounet_edge.results.journal import FinishedEntry, Journal
from biounet_edge.results.kinds import Save
from biounet_edge.results.overlay import OVERLAY_PX
from biounet_edge.results.summary import Counts, write_summary
from biounet_edge.results.writer import ResultWriter
from biounet_edge.runs.fingerprint import fingerprint
from biounet_edge.runs.plan import HASH_CHARACTERS, Task, parts, plan


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
    *,
    left_out: Sequence[LeftOut] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Generator[Finished, None, None]:
    """Read images, write their results, and skip what an earlier run finished.

    The tables and summary.json appear when the iterator ends, is closed or fails, and hold what was finished
    until then.

    Args:
        predictor: The loaded bundle.
        images: What to read, in the order of the tables.
        output: Output folder; made where it is missing.
        options: How.
        dicom: Writer of the DICOM kinds; None where there are none.
        left_out: What was found beside the images, for summary.json and the report.
        tell: Called with a sentence when an earlier run died with photographs in work.

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
    stream = partial(predictor.stream, preview_px=_preview_px(options.save))
    with _RunOutput(predictor, images, output, options, dicom, left_out) as run:

        def computed(tasks: list[Task], batch_size: int) -> Generator[Outcome, None, None]:
            sources = (task.image.source for task in tasks)
            begin = partial(run.begin, tasks)
            return stream(sources, batch_size=batch_size, before_decoding=begin)

        if suspects := sum(0 < task.deaths < MOST_DEATHS for task in run.tasks):
            tell(suspects_sentence(suspects))
        for task in run.tasks:
            if task.deaths == 1:  # a trial: what the run writes is computed in its batch
                with closing(computed([task], 1)) as outcomes:
                    next(outcomes)
                run.end(task, trial=True)
        for how, tasks in parts(run.tasks, options.batch_size):
            if how == "together":
                with closing(computed(tasks, options.batch_size)) as outcomes:
                    for task, outcome in zip(tasks, outcomes, strict=True):
                        yield run.write(task, outcome)
                continue
            for task in tasks:
                if task.finished:
                    yield run.keep(task)
                elif task.deaths >= MOST_DEATHS:
                    yield run.write(task, skipped(task.image.source, task.deaths, task.sha256))
                else:
                    run.settle()
                    with closing(computed([task], 1)) as outcomes:
                        yield run.write(task, next(outcomes))
                    run.settle()


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
        left_out: Sequence[LeftOut],
    ) -> None:
        notice, run = predictor.bundle.manifest.notice, fingerprint(predictor, options.save)
        with ExitStack() as stack:
            self._journal = stack.enter_context(
                Journal(output, run, resume=options.resume, anonymous=options.anonymous)
            )
            self._report = stack.enter_context(_report(predictor, output, options, len(images), left_out))
            # Before any table is opened: if planning is stopped, the earlier tables remain.
            self.tasks = plan(images, self._journal, self._report, options.anonymous)
            self._tables = stack.enter_context(
                ResultWriter(output, options.save, notice, dicom=dicom, journal=self._journal)
            )
            self._open = stack.pop_all()
        self._output, self._left_out = output, left_out
        self._taken, self._counts = 0, Counts(len(self.tasks))
        self._begun: dict[Task, str] = {}  # the checksums of what is in work

    def begin(self, tasks: list[Task], place: int, sha256: str) -> None:
        """Note that a task is about to be decoded. Called in the thread of a decoder."""
        self._begun[tasks[place]] = sha256
        self._journal.begin(tasks[place].image.stem, sha256)

    def end(self, task: Task, *, trial: bool = False) -> None:
        """Note that a task is no longer in work, though there is nothing to keep of it."""
        if (sha256 := self._begun.pop(task, None)) is not None:
            self._journal.end(sha256, trial=trial)

    def settle(self) -> None:
        """Wait until nothing is in work."""
        self._tables.settle()

    def keep(self, task: Task) -> Finished:
        """Keep the results of the next task, which an earlier run finished."""
        self._taken += 1
        entry = self._entry(task)
        self._counts.add(entry.outcome)
        self._tables.keep(task.image, entry)
        if self._report:
            self._report.keep(task.image, entry.outcome)
        return Finished(entry.outcome, kept=True)

    def write(self, task: Task, outcome: Outcome) -> Finished:
        """Write the next task's results."""
        self._taken += 1
        self._counts.add(outcome)
        image, named = self._named(task.image, outcome)
        self._tables.write(image, named)
        if self._report:
            self._report.write(image, named)
        if outcome.sha256 is None:  # else the line that says what came of it ends it
            self.end(task)
        self._begun.pop(task, None)
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
        with suppress(OutputError) if error is not None else nullcontext():
            write_summary(self._output, self._counts, self._left_out)

    def _keep_rest(self) -> None:
        """Keep the tasks that were not reached; what fails here follows from the error that ends the run."""
        for task in self.tasks[self._taken :]:
            if not task.finished:
                continue
            with suppress(OutputError):
                self._tables.keep(task.image, self._entry(task))
            if self._report:
                with suppress(OutputError):
                    self._report.keep(task.image, self._entry(task).outcome)

    def _entry(self, task: Task) -> FinishedEntry:
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
    predictor: Predictor, output: Path, options: RunOptions, total: int, left_out: Sequence[LeftOut]
) -> AbstractContextManager[ReportWriter | None]:
    if "report" not in options.save:
        forget_cards(output)
        return nullcontext()
    level, device = predictor.level, predictor.selection
    resume = options.resume
    return ReportWriter(output, predictor.bundle, level, device, total, resume=resume, left_out=left_out)


def _preview_px(save: tuple[Save, ...]) -> int:
    """Return the longer side of the photographs that results need, in pixels; 0 where they need none."""
    report_px = PICTURE_PX if "report" in save else 0
    return max(report_px, OVERLAY_PX) if {"overlays", "dicom-sc"} & set(save) else report_px
