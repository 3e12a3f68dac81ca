"""One cell of a table: our figure, a slash, the paper's."""

import statistics
from collections.abc import Iterable, Sequence

NOT_MEASURED = "not measured"
NOT_PUBLISHED = "-"


def format_cell(ours: Sequence[float], paper: float | None, decimals: int, paper_decimals: int) -> str:
    """Our figure beside the paper's.

    Args:
        ours: One value a seed; none where there is no run, or where it could not be computed.
        paper: The published figure; None where the paper has none.
        decimals: Of ours.
        paper_decimals: Of the paper's.
    """
    published = NOT_PUBLISHED if paper is None else f"{paper:.{paper_decimals}f}"
    return f"{format_mean(ours, decimals)} / {published}"


def format_mean(values: Sequence[float], decimals: int) -> str:
    """The mean, with the standard deviation and the number of seeds where there are several."""
    if not values:
        return NOT_MEASURED
    mean = f"{statistics.fmean(values):.{decimals}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{decimals}f} ({len(values)})"


def format_range(values: Iterable[int]) -> str:
    """A count that all runs share, or the least and the greatest."""
    known = sorted(set(values))
    if not known:
        return NOT_MEASURED
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def format_markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    rows = [list(header), ["---"] + ["---:"] * (len(header) - 1), *map(list, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
