"""predictions.csv and predictions.jsonl: one row per photograph."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from biounet_edge.errors import OutputError
from biounet_edge.indicators import INDICATORS
from biounet_edge.prediction import Outcome, Prediction, PredictionFailure
from biounet_edge.storage import PendingFile, output_error

TABLE_NAMES = ("predictions.csv", "predictions.jsonl")

COLUMNS = [
    "image", "status", "category", "error", "width", "height", "familiarity", "warning",
    "melanoma_probability", "melanoma",
    *(
        f"{name}_{value}"
        for name in INDICATORS
        for value in ("probability", "present", "contribution", "area_pct")
    ),
    "notes",
]  # fmt: skip
"""Columns of predictions.csv."""


class Tables:
    """predictions.csv and predictions.jsonl, under temporary names until closed."""

    def __init__(self, output: Path) -> None:
        """Open both; the output folder is made if it is missing.

        Args:
            output: Output folder.

        Raises:
            OutputError: If they cannot be written.
        """
        self._path = output / TABLE_NAMES[0]
        self._pending: list[PendingFile] = []
        self._problem: OutputError | None = None
        with self._explained():
            output.mkdir(parents=True, exist_ok=True)
            for name in TABLE_NAMES:
                self._pending.append(PendingFile(output / name, text=True))
            self._csv = csv.DictWriter(self._pending[0].file, COLUMNS, lineterminator="\n")
            self._csv.writeheader()

    def add(self, outcome: Outcome, files: list[str]) -> None:
        """Add a row to both.

        Args:
            outcome: Prediction or failure.
            files: Its result files, relative to the output folder.

        Raises:
            OutputError: If they cannot be written; the same error at every later call.
        """
        line = outcome.to_dict() | ({"files": files} if isinstance(outcome, Prediction) else {})
        with self._explained():
            self._csv.writerow(csv_row(outcome))
            self._pending[1].file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Put both in place.

        Raises:
            OutputError: If that fails; then neither is left under a temporary name.
        """
        with self._explained():
            for pending in self._pending:
                pending.place()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn a failure into a sentence, raise the same one from then on, and leave no temporary file."""
        if self._problem is not None:
            raise self._problem
        try:
            yield
        except OSError as error:
            for pending in self._pending:
                pending.discard()
            self._problem = output_error(self._path, error)
            raise self._problem from error


def csv_row(outcome: Outcome) -> dict[str, Any]:
    """Make one row of predictions.csv.

    Args:
        outcome: Prediction or failure.

    Returns:
        Column name to cell; columns that have no value are missing.
    """
    row: dict[str, Any] = {
        "image": _text_cell(outcome.source),
        "status": outcome.status,
        "category": outcome.category or "",
        "familiarity": "" if outcome.familiarity is None else f"{outcome.familiarity:.6g}",
    }
    if isinstance(outcome, PredictionFailure):
        return row | {"error": _text_cell(outcome.error)}
    row |= {
        "width": outcome.size[1],
        "height": outcome.size[0],
        "warning": outcome.warning or "",
        "melanoma_probability": f"{outcome.melanoma_probability:.6f}",
        "melanoma": int(outcome.melanoma),
        "notes": _text_cell("; ".join(outcome.notes)),
    }
    for name, finding in outcome.indicators.items():
        row[f"{name}_probability"] = f"{finding.probability:.6f}"
        row[f"{name}_present"] = "" if finding.present is None else int(finding.present)
        row[f"{name}_contribution"] = f"{finding.contribution:.6f}"
        row[f"{name}_area_pct"] = "" if finding.area_pct is None else f"{finding.area_pct:.4f}"
    return row


# What makes a cell a formula; in front of it the start of the cell, or what some countries' spreadsheets take
# for the start of another.
_FORMULA = re.compile("(^|[;\t\n])(?=[=+@\t\uff1d\uff0b\uff0d\uff20-])")


def _text_cell(text: str) -> str:
    """Keep a spreadsheet from running a file name as a formula, or from ending a row within it.

    Python's csv module does not quote a carriage return where rows end with a line feed.
    """
    return _FORMULA.sub(r"\1'", text.replace("\r", "\\r"))
