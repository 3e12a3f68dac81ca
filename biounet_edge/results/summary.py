"""summary.json: how many photographs a run read, and what it left out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from biounet_edge.errors import Category
from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.prediction import Outcome, Prediction
from biounet_edge.storage import write_result

SUMMARY_NAME = "summary.json"


@dataclass(slots=True)
class Counts:
    """What came of the photographs of a run: its last lines and summary.json count by this one rule."""

    images: int = 0
    """Photographs that were to be read."""
    read: int = 0
    """Photographs that were read, unfamiliar ones included."""
    failed: int = 0
    """Photographs that could not be read."""
    unfamiliar: int = 0
    """Those that were read and are unlike the photographs of the training."""
    skipped: int = 0
    """Images that a rule left out, each with a row that says why; `left_out` has their attributes."""
    noted: int = 0
    """Those with a note, such as that they are out of focus."""

    def add(self, outcome: Outcome) -> None:
        """Count what came of one of the images.

        Args:
            outcome: Prediction or failure.
        """
        failed = outcome.category is not None and outcome.category.is_failure
        skipped = outcome.category is Category.SKIPPED
        self.failed += failed
        self.skipped += skipped
        self.read += not failed and not skipped
        self.unfamiliar += outcome.category is Category.UNFAMILIAR
        self.noted += isinstance(outcome, Prediction) and bool(outcome.notes)

    @property
    def sentence(self) -> str:
        """As it is printed: "2 of 3 images read, 1 unfamiliar, 1 left out"."""
        counts = ((self.unfamiliar, "unfamiliar"), (self.skipped, "left out"))
        others = "".join(f", {count} {word}" for count, word in counts if count)
        return f"{self.read} of {self.images} images read{others}"


def write_summary(output: Path, counts: Counts, left_out: Sequence[LeftOut]) -> None:
    """Write the counts of a run into its output folder.

    Args:
        output: Output folder, which has to exist.
        counts: How far the run came.
        left_out: What was left out, by reason.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = {
        **asdict(counts),
        "left_out": [{"count": part.count, "reason": part.reason, "kinds": part.kinds} for part in left_out],
    }
    write_result(output, SUMMARY_NAME, json.dumps(content, indent=2).encode("ascii") + b"\n")
