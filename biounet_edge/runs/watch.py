"""Reads photographs as they arrive in a folder, until it is told to stop."""

import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from biounet_edge.errors import Category, InputError
from biounet_edge.photographs.discovery import Discovery, InputImage, check_is_not_output, look_through
from biounet_edge.photographs.left_out import FORMAT, LeftOut
from biounet_edge.predictor import Predictor
from biounet_edge.results.dicom.files import DicomFiles
from biounet_edge.results.summary import Counts, write_summary
from biounet_edge.runs.folder import Finished, RunOptions, run_folder

LONGEST_RETRY_S = 600.0
"""Longest time after which what failed is tried again, in seconds."""

_PASSING = (Category.RETRY, Category.FAILED)
"""Kinds of reasons that may pass, where they are not of the content: that has a checksum, and is kept."""

_State = tuple[int, int, int]  # inode, size in bytes, time of the last change in nanoseconds


def watch_folder(
    predictor: Predictor,
    folder: Path,
    output: Path,
    options: RunOptions,
    stop: Event,
    *,
    settle_s: float = 2.0,
    interval_s: float = 1.0,
    retry_s: float = 5.0,
    tell: Callable[[str], None] = lambda line: None,
) -> Generator[Finished, None, None]:
    """Read every photograph of a folder, and then those that arrive, once each has stopped growing.

    Each round is a run over all that is there, which skips what is finished. So the tables list what is in
    the folder, a photograph that was replaced is read again, and whatever stops the watch, the next one
    continues. What failed for a passing reason, such as a locked file, is tried again.

    Args:
        predictor: The loaded bundle.
        folder: Where photographs arrive; its subfolders are watched, too.
        output: Output folder; made where it is missing.
        options: How each round is done. With batches of 1 an arrival never computes its neighbours again.
        stop: Ends the watch when it is set, after the photograph that is being read.
        settle_s: How long a file must not have changed, in seconds.
        interval_s: Time between two looks at the folder, in seconds.
        retry_s: Time after which failures are tried again, in seconds; doubled as long as they stay the same.
        tell: Called with a sentence when the folder cannot be read for now, a result cannot be written as
            DICOM, or an earlier watch was killed while it read photographs.

    Yields:
        What came of each photograph that was read, none that was kept.

    Raises:
        InputError: If the folder is not there at the start or is the output folder, or an extra that
            saving needs is missing.
        OutputError: If a result cannot be written, or another run writes to the output folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder}: name the one that photographs arrive in")
    check_is_not_output(folder, output)
    dicom = DicomFiles(options.save, predictor.bundle, (), needed=False)  # one series for all rounds
    arrivals, retry, reachable = _Arrivals(settle_s), _Retry(retry_s), True
    done, counts, told = dict[str, _State](), Counts(), list[LeftOut]()
    while not stop.is_set():
        found = _look(folder, output, predictor.any_modality)
        if isinstance(found, str):
            if reachable:
                tell(found)
            reachable = False
            stop.wait(interval_s)
            continue
        reachable = True
        settled = arrivals.settled(found.images, time.monotonic())
        states = {name: state for name, (_, state) in settled.items()}
        if states != done or retry.is_due(time.monotonic()):
            failed, ready = set[str](), [image for image, _ in settled.values()]
            counts = Counts(len(ready))
            dicom.problems.clear()
            try:
                run = run_folder(predictor, ready, output, options, dicom, left_out=found.left_out, tell=tell)
                with closing(run):
                    for item in run:
                        counts.add(item.outcome)
                        if item.outcome.sha256 is None and item.outcome.category in _PASSING:
                            failed.add(item.outcome.source)
                        if not item.kept:
                            yield item
                        if stop.is_set():
                            return
            finally:
                for line in dicom.problems.values():
                    tell(line)
            retry.note(failed | dicom.problems.keys(), time.monotonic())
            done = states
            told = _tell_left_out(found.left_out, told, tell)
        elif found.left_out != told and len(settled) == len(found.images):
            with suppress(OSError):  # writing says why
                output.mkdir(parents=True, exist_ok=True)
            write_summary(output, counts, found.left_out)
            told = _tell_left_out(found.left_out, told, tell)
        stop.wait(interval_s)


@dataclass
class _Arrivals:
    """Since when each file has been as it is."""

    settle_s: float
    _since: dict[Path, tuple[_State, float]] = field(default_factory=dict)

    def settled(self, images: list[InputImage], now: float) -> dict[str, tuple[InputImage, _State]]:
        """Find the images whose files no longer change, by what they are called."""
        states = {path: _state(path) for path in {image.path for image in images}}
        self._since = {
            path: self._since[path] if path in self._since and self._since[path][0] == state else (state, now)
            for path, state in states.items()
            if state is not None
        }
        return {
            str(image.source): (image, self._since[image.path][0])
            for image in images
            if image.path in self._since and now - self._since[image.path][1] >= self.settle_s
        }


@dataclass
class _Retry:
    """When to try again what failed."""

    first_s: float
    _failed: set[str] = field(default_factory=set)
    _delay_s: float = 0.0
    _due: float = math.inf

    def note(self, failed: set[str], now: float) -> None:
        """Note what has failed; the same as before waits twice as long."""
        same = failed == self._failed
        self._delay_s = min(2 * self._delay_s, LONGEST_RETRY_S) if same else self.first_s
        self._failed, self._due = failed, now + self._delay_s if failed else math.inf

    def is_due(self, now: float) -> bool:
        return now >= self._due


def _look(folder: Path, output: Path, any_modality: bool) -> Discovery | str:
    """Return what is in the folder, or why it cannot be read."""
    try:
        os.scandir(folder).close()
        return look_through([folder], output, may_be_empty=True, any_modality=any_modality)
    except OSError as error:
        return f"the folder {folder} cannot be read for now: {error.strerror}"
    except InputError as error:  # it went away a moment ago
        return str(error)


def _tell_left_out(
    left_out: list[LeftOut], told: list[LeftOut], tell: Callable[[str], None]
) -> list[LeftOut]:
    """Tell of photographs that nobody will read, when their number changes; return what was told."""
    for part in left_out:
        if part.reason == FORMAT and part not in told:
            tell(f"left out: {part.sentence}")
    return left_out


def _state(path: Path) -> _State | None:
    """Return what changes while a file is written; None if it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
