"""Table 1: how many images have each indicator and how many lack it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biounet_edge.indicators import indicator_label
from train.config.run import TrainConfig
from train.data.records import read_source
from train.tables import paper
from train.tables.cells import NOT_MEASURED, format_markdown, format_range
from train.tables.runs import JudgedRun


@dataclass(frozen=True)
class SourceCounts:
    """Class counts of one data source."""

    name: str
    images: int
    present: dict[str, int]
    """By indicator: images that are known to have it."""
    absent: dict[str, int]
    """By indicator: images that are known to lack it."""


def count_sources(config: TrainConfig, data_root: Path) -> list[SourceCounts]:
    """Count the images of a configuration's annotated sources, all sides of the split together.

    Raises:
        DatasetError: If a source is not what its layout says.
    """
    counted = []
    for source in config.data.annotated:
        records = read_source(source, data_root)
        present, absent = (
            {name: sum(record.presence.get(name) is known for record in records) for name in paper.COLUMNS}
            for known in (True, False)
        )
        counted.append(SourceCounts(source.name, len(records), present, absent))
    return counted


def format_counts(counts: Sequence[SourceCounts] | None, runs: Sequence[JudgedRun]) -> str:
    """Table 1 as Markdown.

    Args:
        counts: From the data; None for those that the runs' evaluations hold.
        runs: Their evaluations count the held-out images.
    """
    header = ("indicator", "images", "with: ours / paper", "without: ours / paper")
    lines = []
    for indicator in paper.COLUMNS:
        for name, present, absent in _counted(indicator, counts, runs):
            lines.append(
                (
                    indicator_label(indicator),
                    name,
                    f"{present} / {paper.TABLE_1[indicator][0]}",
                    f"{absent} / {_published_absent(indicator)}",
                )
            )
    note = (
        f"The paper's counts are of its {paper.IMAGES} images. It prints 881 images without pigment network, "
        f"which with 1523 makes 2404; 1071 makes {paper.IMAGES}."
    )
    return f"{format_markdown(header, lines)}\n\n{note}"


def _counted(
    indicator: str, counts: Sequence[SourceCounts] | None, runs: Sequence[JudgedRun]
) -> list[tuple[str, str, str]]:
    """What was counted, images with, images without."""
    if counts is not None:
        return [
            (f"{c.name}, all {c.images}", str(c.present[indicator]), str(c.absent[indicator])) for c in counts
        ]
    if not runs:
        return [(NOT_MEASURED, NOT_MEASURED, NOT_MEASURED)]
    data = [run.evaluation.data for run in runs]
    known = [section.counts[indicator] for section in data if indicator in section.counts]
    name = f"{data[0].source}, {data[0].side} {format_range(section.images for section in data)}"
    return [(name, format_range(c.present for c in known), format_range(c.absent for c in known))]


def _published_absent(indicator: str) -> str:
    printed = str(paper.TABLE_1[indicator][1])
    corrected = paper.TABLE_1_CORRECTED.get(indicator)
    return printed if corrected is None else f"{printed} (read as {corrected[1]})"
