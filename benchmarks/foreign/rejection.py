"""How well a familiarity score tells foreign pictures from familiar photographs, as a Markdown table."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from biounet_edge.errors import InputError
from biounet_edge.evaluation.decisions import Rate
from biounet_edge.evaluation.probabilities import auc

HEADER: Final = ("pictures", "number", "AUROC", "turned away", "95 % interval")


def read_scores(path: Path, group: str) -> dict[str, list[float]]:
    """Read scores by a column of a CSV file.

    Args:
        path: A table with a column `score`.
        group: Column to group by; where the table has none, all rows are one group of that name.

    Returns:
        Scores by group, in the order of the table.

    Raises:
        InputError: If the file is missing or empty, has no column `score`, or a score is no finite number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as rows:
            table = list(csv.DictReader(rows))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not table or "score" not in table[0]:
        raise InputError(f"{path} should be a table with a column 'score' and at least one row")
    scores: dict[str, list[float]] = {}
    for line, row in enumerate(table, start=2):
        scores.setdefault(row.get(group) or group, []).append(_number(row["score"], f"{path}, line {line}"))
    return scores


def _number(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: expected a finite number as score, got {text!r}")
    return value


def rejection_table(
    foreign: Mapping[str, Sequence[float]], familiar: Mapping[str, Sequence[float]], threshold: float
) -> str:
    """Say, per kind, how well the score separates and how much the threshold turns away.

    Args:
        foreign: Scores of foreign pictures by kind, higher for what is more familiar.
        familiar: Scores of photographs like those that the model was trained on, by source.
        threshold: A picture whose score is below it is turned away.

    Returns:
        A Markdown table: a row per kind, all kinds, then a row per source of familiar photographs. AUROC is
        the chance that a familiar photograph scores higher than a foreign picture; the interval is Wilson's.
    """
    known = np.concatenate([np.asarray(scores, float) for scores in familiar.values()])
    groups = dict(foreign)
    if len(groups) > 1:
        groups["all kinds"] = np.concatenate([np.asarray(scores, float) for scores in foreign.values()])
    lines = [_line(HEADER), _line(["---", *["---:"] * (len(HEADER) - 1)])]
    for name, scores in groups.items():
        truth = np.repeat([0, 1], [len(scores), len(known)])
        area = auc(truth, np.concatenate([np.asarray(scores, float), known]))
        lines.append(_row(name, scores, f"{area:.3f}", threshold))
    for name, scores in familiar.items():
        lines.append(_row(f"familiar: {name}", scores, "", threshold))
    return "\n".join(lines)


def _row(name: str, scores: Sequence[float], area: str, threshold: float) -> str:
    rate = Rate(int((np.asarray(scores, float) < threshold).sum()), len(scores))
    low, high = rate.interval
    return _line((name, str(rate.images), area, f"{rate.value:.1%}", f"{low:.1%} to {high:.1%}"))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
