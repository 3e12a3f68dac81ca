"""What is finished in an output folder, so that a run that was stopped is continued and not repeated.

journal.jsonl has one line per run and one per image, appended once all of the image's files are in place:
whatever stops a run, there is no line without its result. A line that was cut off is not JSON, and its image
is computed again. Before files of other content or of another kind of run are overwritten, a line without an
outcome says that they are gone. Lines of their own say what is in work (`deaths`).
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

from biounet_edge.errors import BiounetEdgeError, InputError, OutputError
from biounet_edge.prediction import Outcome
from biounet_edge.results.deaths import Deaths
from biounet_edge.results.kinds import KINDS
from biounet_edge.results.outcome_record import outcome_from_dict
from biounet_edge.results.tables import TABLE_NAMES
from biounet_edge.storage import output_error, remove_leftovers

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not kept apart there
    fcntl = None  # type: ignore[assignment]

JOURNAL_NAME = "journal.jsonl"

_ORDERLY = (BiounetEdgeError, GeneratorExit, KeyboardInterrupt, SystemExit)

_FORMAT = 1
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # no system has all of them
    _FLAGS |= getattr(os, _name, 0)


@dataclass(frozen=True, slots=True)
class FinishedEntry:
    """What the journal says about a finished image."""

    outcome: Outcome
    """Its prediction without arrays, or its failure."""
    files: list[str]
    """Its result files, relative to the output folder."""


class Journal:
    """The open journal of an output folder; no other run may open it meanwhile.

    Used by one thread, but for `begin` and `end`, which may be called from any.
    """

    def __init__(self, output: Path, run: str, *, resume: bool = True, anonymous: bool = False) -> None:
        """Make the output folder, open its journal and remove half-written files of a killed run.

        Args:
            output: Output folder; made where it is missing.
            run: Fingerprint of all that a result depends on besides its image; entries of other runs are not
                used.
            resume: False forgets what was finished.
            anonymous: Whether file names must not be kept.

        Raises:
            OutputError: If the folder cannot be written to, or another run writes to it.
            InputError: If file names must not be kept and the folder has results with file names.
        """
        self.anonymous = anonymous
        """Whether file names must not be kept."""
        self.deaths = Deaths(run)
        """What was in work when earlier runs of the same kind died."""
        self._output, self._path, self._run = output, output / JOURNAL_NAME, run
        self._places: dict[str, tuple[int, int]] = {}  # stem -> offset and length of its last line
        self._others: set[str] = set()  # stems whose last line is another run's
        self._end = 0
        self._lock, self._began = RLock(), False  # whether anything is in work, or was
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(output, error) from error
        with self._explained():
            self._file = FileIO(os.open(self._path, _FLAGS, 0o666), "r+")
        try:
            with self._explained():
                if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    raise OSError("it is not a regular file")
                self._lock_folder()
                self._read(anonymous)
                if not resume:
                    self._file.truncate(0)
                    self._places, self._others, self._end = {}, set(), 0
                    self.deaths = Deaths(run)
                remove_leftovers(output, KINDS)
                self._append({"journal": _FORMAT, "anonymous": anonymous, "run": run})
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Count the images that were finished, here and now or in an earlier run of the same kind."""
        return len(self._places)

    def __contains__(self, stem: str) -> bool:
        """Whether an image of that name was finished, whatever was in it."""
        return stem in self._places

    def find(self, stem: str, sha256: str) -> FinishedEntry | None:
        """Look for a finished image.

        Args:
            stem: Name of its results.
            sha256: SHA-256 of its content as it is now.

        Returns:
            What the journal says; None where it was not finished, has changed since or lacks a result file.
        """
        if stem not in self._places:
            return None
        offset, length = self._places[stem]
        try:
            with self._lock:
                self._file.seek(offset)
                content = self._file.read(length)
            line = json.loads(content)
            outcome = outcome_from_dict(line["outcome"])
            files: dict[str, int] = line["files"]
            there = all((self._output / name).stat().st_size == size for name, size in files.items())
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
            return None
        return FinishedEntry(outcome, list(files)) if there and outcome.sha256 == sha256 else None

    def claim(self, stem: str, sha256: str) -> None:
        """Note that an image's files are about to be overwritten, if they are not of this content and run.

        Otherwise a run that is killed in between would leave a line about files that are gone.

        Args:
            stem: Name of its results.
            sha256: SHA-256 of its content.

        Raises:
            OutputError: If the journal cannot be written.
        """
        if stem in self._others or (stem in self._places and self.find(stem, sha256) is None):
            with self._explained():
                self._append({"run": self._run, "stem": stem})
            self._others.discard(stem)
            self._places.pop(stem, None)

    def begin(self, stem: str, sha256: str) -> None:
        """Note that an image is about to be decoded, so that the next run knows if this one dies of it.

        Args:
            stem: Name of its results.
            sha256: SHA-256 of its content.

        Raises:
            OutputError: If the journal cannot be written.
        """
        with self._explained():
            self._began = True
            self._append({"begins": sha256} | ({} if self.anonymous else {"of": stem}))

    def end(self, sha256: str, *, trial: bool = False) -> None:
        """Note that an image that was begun is no longer in work, though it is not finished.

        Args:
            sha256: SHA-256 of its content.
            trial: Whether there is more to be done with it now; else earlier deaths are forgotten.

        Raises:
            OutputError: If the journal cannot be written.
        """
        with self._explained():
            self._append({"ends": sha256, "trial": trial})

    def add(self, stem: str, outcome: Outcome, files: list[str]) -> None:
        """Note that an image is finished: all of its files are in place.

        Args:
            stem: Name of its results.
            outcome: What came of it, with the checksum of its content.
            files: Its result files, relative to the output folder.

        Raises:
            OutputError: If the journal cannot be written, or the output folder was removed.
        """
        with self._explained():
            if not self._in_place():
                raise OutputError(
                    f"the folder {self._output} was removed or replaced while results were written to it: "
                    "put it back, or start again"
                )
            sizes = {name: (self._output / name).stat().st_size for name in files}
            line = {"run": self._run, "stem": stem, "files": sizes, "outcome": outcome.to_dict()}
            self._places[stem] = self._append(line)
            self._others.discard(stem)

    def close(self) -> None:
        """Note that the run did not die, and release the folder; a second call does nothing."""
        if self._began and not self._file.closed:
            with suppress(OSError):  # a full disk; what was in work is tried by itself
                self._append({"closed": True})
        self._file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal; an error that nobody foresaw counts as the death of the run."""
        if error is None or isinstance(error, _ORDERLY):
            self.close()
        else:
            self._file.close()

    def _lock_folder(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lifts it, after a kill too
        except BlockingIOError as error:
            raise OutputError(
                f"another run is writing to {self._output}: wait until it ends, or choose another folder "
                "with --output"
            ) from error
        except OSError:  # some network file systems have no locks
            return

    def _read(self, anonymous: bool) -> None:
        """Index the lines of this kind of run; the last line of an image counts."""
        runs: list[bool] = []  # whether each was anonymous
        self._file.seek(0)
        with open(os.dup(self._file.fileno()), "rb") as lines:
            for content in lines:
                offset, self._end = self._end, self._end + len(content)
                line = _parse(content)
                self.deaths.read(line)
                stem = line.get("stem")
                if line.get("journal") == _FORMAT:
                    runs.append(line.get("anonymous") is True)
                elif isinstance(stem, str):
                    self._places.pop(stem, None)  # its files are not those of an earlier line
                    self._others.discard(stem)
                    if "outcome" in line and line.get("run") == self._run:
                        self._places[stem] = (offset, len(content))
                    elif "outcome" in line:  # unlike the line of a claim
                        self._others.add(stem)
                if not content.endswith(b"\n"):
                    self._end += self._file.write(b"\n")
        self.deaths.close()
        named = not all(runs) if runs else any((self._output / name).exists() for name in TABLE_NAMES)
        if anonymous and named:
            raise InputError(
                f"the folder {self._output} has results with file names: choose another with --output, or "
                "leave --anonymous out"
            )

    def _append(self, line: dict[str, Any]) -> tuple[int, int]:
        """Write a line at once and return where it is."""
        content = json.dumps(line).encode("ascii") + b"\n"  # ASCII: names that are no Unicode survive
        with self._lock:
            offset, rest = self._end, memoryview(content)
            while rest:  # a disk that runs full takes a part first
                written = self._file.write(rest)
                self._end, rest = self._end + written, rest[written:]
        return offset, len(content)

    def _in_place(self) -> bool:
        """Whether the open file is still the one in the folder."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OutputError:  # which is an OSError too
            raise
        except OSError as error:
            raise output_error(self._path, error) from error


def _parse(line: bytes) -> dict[str, Any]:
    """Return a line's JSON object; an empty one if it holds none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
