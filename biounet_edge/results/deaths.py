"""Which photographs were in work when a run died, read from its journal.

A run that is killed, by the system when memory runs out or by a decoder that crashes, says nothing. So each
photograph is noted before it is decoded and again once it is done: what lies between the two when the journal
ends without a last word was in work. A line that was written survives the death of its process; nothing is
forced to the disk for it.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from biounet_edge.errors import Category
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.prediction import PredictionFailure

MOST_DEATHS = 3
"""Deaths after which a photograph is no longer tried."""


class Deaths:
    """Counts, by content, how often a run of one kind died with a photograph in work."""

    def __init__(self, run: str) -> None:
        """Begin before the first line of a journal.

        Args:
            run: Fingerprint of the kind of run; deaths of others are not counted.
        """
        self.stems: set[str] = set()
        """Names of the photographs that were in work, where names are kept."""
        self._run, self._is_of_run = run, False
        self._counts: Counter[str] = Counter()
        self._in_work: Counter[str] = Counter()  # more than once where files have the same content
        self._names: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether there is any photograph to be careful with."""
        return bool(self._counts)

    def of(self, sha256: str) -> int:
        """Return how often a run died with this content in work, and not done since.

        Args:
            sha256: SHA-256 of the content.

        Returns:
            0 or more.
        """
        return self._counts[sha256]

    def read(self, line: dict[str, Any]) -> None:
        """Take the next line of the journal.

        Args:
            line: Any line; most say nothing of this.
        """
        if "journal" in line:
            self.close()
            self._is_of_run = line.get("run") == self._run
        elif "closed" in line:
            self._in_work.clear()
        elif not self._is_of_run:
            return
        elif isinstance(sha256 := line.get("begins"), str):
            self._in_work[sha256] += 1
            if isinstance(name := line.get("of"), str):
                self._names[sha256] = name
        elif isinstance(sha256 := line.get("ends"), str):
            self._end(sha256, trial=line.get("trial") is True)
        elif isinstance(outcome := line.get("outcome"), dict):
            self._end(outcome.get("sha256"), trial=False)

    def close(self) -> None:
        """Take the end of a run: without a last word, it died."""
        died = [sha256 for sha256, count in self._in_work.items() if count > 0]
        self._counts.update(died)
        self._in_work.clear()
        self.stems.update(self._names[sha256] for sha256 in died if sha256 in self._names)

    def _end(self, sha256: object, *, trial: bool) -> None:
        """Take that a photograph is done; one that is skipped had not begun, and keeps its deaths."""
        if isinstance(sha256, str) and self._in_work[sha256] > 0:
            self._in_work[sha256] -= 1
            if not trial:
                self._counts.pop(sha256, None)


def suspects_sentence(count: int) -> str:
    """Say what is about to be tried.

    Args:
        count: Number of photographs that were in work when a run died.

    Returns:
        A sentence.
    """
    photographs = "a photograph: it is" if count == 1 else f"{count:,} photographs: they are"
    return f"an earlier run was killed while it read {photographs} tried one by one"


def skipped(source: Path | Frame, deaths: int, sha256: str | None) -> PredictionFailure:
    """Say why a photograph is no longer tried.

    Args:
        source: The photograph.
        deaths: How often a run died with it in work.
        sha256: SHA-256 of its content.

    Returns:
        The failure.
    """
    reason = (
        f"the program was killed {deaths} times while it read this photograph, so it is skipped: it needs "
        "more memory than there is, or crashes its decoder; save it smaller or in another format, or start "
        "with --no-resume to try it again"
    )
    return PredictionFailure(str(source), reason, sha256, Category.FAILED)
