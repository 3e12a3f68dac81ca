"""summary.json: how many photographs a run read, and what it left out."""

import json
from collections.abc import Sequence
from pathlib import Path

from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.storage import write_result

SUMMARY_NAME = "summary.json"


def write_summary(
    output: Path,
    images: int,
    failures: int,
    left_out: Sequence[LeftOut],
    *,
    unfamiliar: int = 0,
    skipped: int = 0,
    noted: int = 0,
) -> None:
    """Write the counts of a run into its output folder.

    Args:
        output: Output folder, which has to exist.
        images: Number of photographs of the run.
        failures: Number of those that could not be read.
        left_out: What was found beside them.
        unfamiliar: Number of those that were read and are unlike the photographs of the training.
        skipped: Number of those that were left out by a rule.
        noted: Number of those with a note, such as that they are out of focus.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = {
        "images": images,
        "read": images - failures - skipped,
        "failed": failures,
        "unfamiliar": unfamiliar,
        "skipped": skipped,
        "noted": noted,
        "left_out": [{"count": part.count, "reason": part.reason, "kinds": part.kinds} for part in left_out],
    }
    write_result(output, SUMMARY_NAME, json.dumps(content, indent=2).encode("ascii") + b"\n")
