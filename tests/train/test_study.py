"""docs/study: its tables are those of its runs."""

from pathlib import Path

import numpy as np
import pytest

from biounet_edge.indicators import INDICATORS
from train.tables.rows import ROWS
from train.tables.runs import read_runs
from train.tables.tables import format_tables

STUDY = Path(__file__).parents[2] / "docs" / "study"


@pytest.fixture(scope="module")
def folders() -> list[Path]:
    return sorted((STUDY / "runs").iterdir())


def test_tables_are_those_of_the_runs(folders: list[Path]) -> None:
    assert (STUDY / "tables.md").read_text(encoding="utf-8") == format_tables(folders)


def test_every_row_has_a_run(folders: list[Path]) -> None:
    assert {run.row for run in read_runs(folders)} == set(ROWS)


def test_every_run_was_trained_by_a_commit_as_it_is(folders: list[Path]) -> None:
    assert all(len(revision) == 40 for run in read_runs(folders) for revision in run.revisions)


def test_readme_has_the_figures_of_both_heatmap_resolutions() -> None:
    cells: dict[str, list[str]] = {name: [] for name in (*INDICATORS, "mean of the five")}
    ways = [
        read_runs(sorted((STUDY / "heatmap_size").glob(f"{name}-*")))
        for name in ("bio_u_net", "heatmap_full")
    ]
    assert [{run.network.heatmap_size_px for run in way} for way in ways] == [{64}, {128}]
    assert [[run.seed for run in way] for way in ways] == [[0, 1], [0]]
    for figure in ("cdc_filled", "dice"):
        for way in ways:
            decoders = [run.evaluation.localisation["decoder"] for run in way]
            percent = np.array([[100 * getattr(d[i], figure).value for i in INDICATORS] for d in decoders])
            percent = np.column_stack([percent, percent.mean(1)])  # (seeds, J + 1)
            for name, seeds in zip(cells, percent.T, strict=True):
                spread = f" ± {seeds.std(ddof=1):.1f}" if len(seeds) > 1 else ""
                cells[name].append(f"{seeds.mean():.1f}{spread}")
    text = (STUDY / "README.md").read_text(encoding="utf-8")
    for name, line in cells.items():
        label = name.replace("milia_like", "milia-like").replace("_", " ")
        assert f"| {label} | {' | '.join(line)} |" in text
