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


def read_scores(predictions: Path) -> dict[str, list[float]]:
    """Read what a bundle says of pictures.

    Args:
        predictions: Folder that `biounet-edge predict` wrote.

    Returns:
        Scores by the folder that a picture lies in, in the order of the table.

    Raises:
        InputError: If the table is missing or empty, has no column `familiarity`, or a score is no finite
            number.
    """
    path = predictions / "predictions.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as rows:
            table = list(csv.DictReader(rows))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; name a folder that `biounet-edge predict` wrote"
        ) from error
    if not table or "familiarity" not in table[0]:
        raise InputError(f"{path} should have a column 'familiarity' and at least one row")
    scores: dict[str, list[float]] = {}
    for line, row in enumerate(table, start=2):
        score = _number(row["familiarity"], f"{path}, line {line}")
        scores.setdefault(Path(row["image"]).parent.name, []).append(score)
    return scores


def _number(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{place}: expected a finite number as familiarity, got {text!r}; predict with a bundle that "
            "has the score, and pictures that can be read"
        )
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
