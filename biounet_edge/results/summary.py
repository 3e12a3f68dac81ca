"""summary.json: how many photographs a run read, and what it left out."""

import json
from collections.abc import Sequence
from pathlib import Path

from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.storage import write_result

SUMMARY_NAME = "summary.json"


def write_summary(output: Path, images: int, failures: int, left_out: Sequence[LeftOut]) -> None:
    """Write the counts of a run into its output folder.

    Args:
        output: Output folder, which has to exist.
        images: Number of photographs of the run.
        failures: Number of those that could not be read.
        left_out: What was found beside them.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = {
        "images": images,
        "read": images - failures,
        "failed": failures,
        "left_out": [{"count": part.count, "reason": part.reason, "kinds": part.kinds} for part in left_out],
    }
    write_result(output, SUMMARY_NAME, json.dumps(content, indent=2).encode("ascii") + b"\n")
