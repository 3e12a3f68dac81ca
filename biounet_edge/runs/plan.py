"""What is to be done with each image of a run, from what the journal knows of it."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from biounet_edge.errors import ImageError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.file import checksum
from biounet_edge.results.html import ReportWriter
from biounet_edge.results.journal import Journal

HASH_CHARACTERS = 32
"""Characters of the SHA-256 in an anonymous name: 128 bits, so that no two images share one by accident."""

_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Task:
    """An image, and what the journal knows of it."""

    image: InputImage
    sha256: str | None = None
    """Checksum of its content, where the journal may know it."""
    finished: bool = False
    """Whether an earlier run finished it."""
    deaths: int = 0
    """How often a run died with it in work."""


def plan(
    images: Sequence[InputImage], journal: Journal, report: ReportWriter | None, anonymous: bool
) -> list[Task]:
    """Find what is finished, and what runs died of, by the images' content as it is now.

    Args:
        images: What is to be read.
        journal: The open journal.
        report: The report that is begun; None where there is none.
        anonymous: Whether names are replaced by hashes of the content.

    Returns:
        One task per image, in their order.

    Raises:
        OutputError: If the earlier report cannot be read.
    """
    if len(journal) == 0 and not journal.deaths:
        return [Task(image) for image in images]

    def content(image: InputImage) -> str | None:
        if not anonymous and image.stem not in journal and image.stem not in journal.deaths.stems:
            return None
        try:
            return checksum(image.source)
        except (ImageError, MemoryError):
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        checksums = list(pool.map(content, images))
    tasks = []
    for image, sha256 in zip(images, checksums, strict=True):
        if sha256 is None:
            tasks.append(Task(image))
            continue
        if anonymous:
            image = replace(image, stem=sha256[:HASH_CHARACTERS])
        entry = journal.find(image.stem, sha256)
        finished = entry is not None and (report is None or report.has(image, entry.outcome))
        tasks.append(Task(image, sha256, finished, 0 if finished else journal.deaths.of(sha256)))
    return tasks


How = Literal["kept", "together", "one by one"]
"""How a batch is done; one by one where two runs have died of one of its images."""


def parts(tasks: list[Task], batch_size: int) -> Iterator[tuple[How, list[Task]]]:
    """Put neighbouring batches together that are computed in the same way.

    Args:
        tasks: All of a run.
        batch_size: Number of images of a batch.

    Yields:
        The way, and the tasks of whole batches.
    """
    batches = (tasks[start : start + batch_size] for start in range(0, len(tasks), batch_size))
    for how, part in groupby(batches, _how):
        yield how, [task for batch in part for task in batch]


def _how(batch: list[Task]) -> How:
    if all(task.finished for task in batch):
        return "kept"
    return "one by one" if any(task.deaths > 1 for task in batch) else "together"
