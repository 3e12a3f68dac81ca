"""Tables 1 to 7 of the paper from a set of runs, as one Markdown text."""

from collections.abc import Sequence
from pathlib import Path

from biounet_edge.indicators import indicator_label
from train.evaluation.report import METHODS
from train.tables import paper
from train.tables.cells import NOT_MEASURED, NOT_PUBLISHED, format_markdown, format_range
from train.tables.cost import format_table_7
from train.tables.counts import SourceCounts, format_counts
from train.tables.localisation import format_rows, format_table_2, format_table_6
from train.tables.rows import ROWS, TABLE_3, TABLE_4, TABLE_5
from train.tables.runs import JudgedRun, read_runs

LEGEND = (
    f"Each cell holds our figure, a slash, the paper's; `{NOT_PUBLISHED}` where the paper has none, "
    f"`{NOT_MEASURED}` where we have none. Several seeds: mean ± sample standard deviation (number of "
    "seeds). Continuous Dice in percent, over images whose true mask is not empty. The paper's figures are "
    "of ISIC 2018 Task 2; what ours are of stands under Runs."
)

THRESHOLD_NOTE = (
    f"The paper says that its maps were cut at {paper.MASK_THRESHOLD}, but its Bio-U-Net row equals the "
    "column for 0.0 of its Table 6; so the figures of its Tables 2 to 5 stand beside ours at both "
    "thresholds. Its melanoma column is an accuracy in section 5.2 and an AUC in section 5.3; it stands "
    "beside both."
)


def format_tables(
    folders: Sequence[Path], source: str | None = None, counts: Sequence[SourceCounts] | None = None
) -> str:
    """Write the paper's tables with the figures of some runs.

    Args:
        folders: Run folders, each with model.json and evaluation/<source>-test/evaluation.json; none at all
            gives tables in which only FLOPs are measured.
        source: Data source whose figures are read; None where the runs were judged on one alone.
        counts: Class counts for Table 1 (`count_sources`); None for those of the evaluations.

    Returns:
        Markdown.

    Raises:
        InputError: If a run was not judged, fills no row, or cannot be averaged with the others of its row.
        CheckpointError: If a model.json is missing or damaged.
    """
    runs = read_runs(folders, source)
    tables = (
        ("Table 1: images with and without each indicator", format_counts(counts, runs)),
        ("Table 2: localisation by method", format_table_2(runs)),
        ("Table 3: subnetworks left out", format_rows(TABLE_3, paper.TABLE_3, runs, ("f_Seg", "f_CLR"))),
        ("Table 4: f_Seg repeated in an iteration", format_rows(TABLE_4, paper.TABLE_4, runs)),
        (
            "Table 5: one encoder for several tasks",
            format_rows(TABLE_5, paper.TABLE_5, runs, ("each encoder predicts",)),
        ),
        ("Table 6: Bio-U-Net's Grad-CAM by threshold", format_table_6(runs)),
        ("Table 7: computing cost of one encoder", format_table_7(runs)),
    )
    sections = [LEGEND, THRESHOLD_NOTE, *(f"## {title}\n\n{table}" for title, table in tables)]
    sections.append(f"## Runs\n\n{_format_runs(runs)}")
    return "\n\n".join(sections) + "\n"


def _format_runs(runs: Sequence[JudgedRun]) -> str:
    """Where the figures come from: the runs, and on how many filled masks each method was judged."""
    if not runs:
        return f"None: all but FLOPs is {NOT_MEASURED}."
    header = (
        "row",
        "seed",
        "run",
        "configuration",
        "commit",
        "base width",
        "input",
        "trained on",
        "judged on",
    )
    lines = []
    for run in runs:
        model, data, network = run.evaluation.model, run.evaluation.data, run.network
        lines.append(
            (
                ROWS[run.row].label,
                str(run.seed),
                run.folder.resolve().name,
                model.config,
                ", ".join(map(_shorten, run.revisions)) or "unknown",
                str(network.base_width),
                f"{network.image_size_px} px",
                "; ".join(model.training),
                f"{data.source}, {data.side}, {_images(run)}",
            )
        )
    return (
        f"{format_markdown(header, lines)}\n\nFilled masks that localisation is judged on:\n\n{_filled(runs)}"
    )


def _shorten(revision: str) -> str:
    """The first twelve digits, and whether files differed from the commit."""
    commit, _, state = revision.partition("-")
    return f"{commit[:12]}-{state}" if state else commit[:12]


def _images(run: JudgedRun) -> str:
    settings = run.evaluation.settings
    judged = f"{run.evaluation.data.images} images"
    if settings is None or settings.sampled_from is None:
        return judged
    return f"{judged} drawn from {settings.sampled_from}"


def _filled(runs: Sequence[JudgedRun]) -> str:
    lines = []
    for method in METHODS:
        judged = [
            run.evaluation.localisation[method] for run in runs if method in run.evaluation.localisation
        ]
        if judged:
            counts = ([m[name].images_filled for m in judged if name in m] for name in paper.COLUMNS)
            lines.append((method, *map(format_range, counts)))
    return format_markdown(("method", *map(indicator_label, paper.COLUMNS)), lines)
