"""summary.json: how many photographs a run read, and what it left out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.storage import write_result

SUMMARY_NAME = "summary.json"


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a run came."""

    images: int = 0
    """Photographs that were to be read."""
    read: int = 0
    """Photographs that were read."""
    failed: int = 0
    """Photographs that could not be read."""


def write_summary(output: Path, counts: Counts, left_out: Sequence[LeftOut]) -> None:
    """Write the counts of a run into its output folder.

    Args:
        output: Output folder, which has to exist.
        counts: How far the run came.
        left_out: What was found beside them.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = {
        **asdict(counts),
        "left_out": [{"count": part.count, "reason": part.reason, "kinds": part.kinds} for part in left_out],
    }
    write_result(output, SUMMARY_NAME, json.dumps(content, indent=2).encode("ascii") + b"\n")
