"""`python -m benchmarks.journal`: what it costs to note each photograph before it is decoded.

The line survives the death of the process without being forced to the disk; what forcing it would cost is
measured beside it, on the disk of the folder that is named.
"""

import hashlib
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from biounet_edge.cli.console import print_json
from biounet_edge.results.journal import JOURNAL_NAME, Journal

FORCED = 50
"""Lines that are forced to the disk."""


@dataclass(frozen=True)
class JournalReport:
    """What was measured."""

    photographs: int
    """Photographs that were noted."""
    begin_cpu_us: float
    """Processor time to note one, in microseconds."""
    line_bytes: float
    """Length of its line."""
    read_cpu_s: float
    """Processor time to read the journal at the next start, in seconds."""
    forced_us: float
    """Time to write and force one line to the disk, in microseconds."""


def measure(folder: Path, photographs: int) -> JournalReport:
    """Note photographs in a journal, and read it.

    Args:
        folder: Where a temporary folder is made.
        photographs: How many.

    Returns:
        The figures.
    """
    checksums = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(photographs)]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        output, run = Path(name), "0" * 64
        with Journal(output, run) as journal:
            start = time.process_time()
            for i, checksum in enumerate(checksums):
                journal.begin(f"folder/ISIC_{i:07}", checksum)
            begin_s = time.process_time() - start
        size = (output / JOURNAL_NAME).stat().st_size
        start = time.process_time()
        Journal(output, run).close()
        read_s = time.process_time() - start
        forced_s = _force(output / "forced", b"x" * (size // photographs))
    per = 1e6 / photographs
    return JournalReport(photographs, begin_s * per, size / photographs, read_s, forced_s * 1e6)


def _force(path: Path, line: bytes) -> float:
    """Return the seconds of one line that is forced to the disk."""
    with path.open("ab", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(FORCED):
            file.write(line)
            os.fsync(file.fileno())
        return (time.perf_counter() - start) / FORCED


def main(
    folder: Annotated[Path, typer.Argument(help="Folder on the disk that is to be measured.")] = Path(),
    photographs: Annotated[int, typer.Option(min=1, help="Photographs to note.")] = 10_000,
) -> None:
    """Print what noting photographs costs, as JSON."""
    print_json(asdict(measure(folder, photographs)))


if __name__ == "__main__":
    typer.run(main)
