"""Runs over a folder of seven images, to their end or stopped before."""

from contextlib import closing
from pathlib import Path

from biounet_edge.photographs.discovery import discover
from biounet_edge.results.journal import JOURNAL_NAME
from biounet_edge.runs.folder import RunOptions, run_folder

IMAGES = 7


def finish(predictor, folder: Path, output: Path, **options) -> list[bool]:
    """Runs to the end; says of each image whether it was kept."""
    predictor.batches = []
    options = RunOptions(**{"batch_size": 2} | options)
    return [item.kept for item in run_folder(predictor, discover([folder], output), output, options)]


def stop(predictor, folder: Path, output: Path, after: int) -> None:
    options = RunOptions(batch_size=2)
    with closing(run_folder(predictor, discover([folder], output), output, options)) as run:
        for _ in range(after):
            next(run)


def results(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.name != JOURNAL_NAME
    }
