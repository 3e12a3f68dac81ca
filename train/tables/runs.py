"""Run folders as the tables read them: which row, which topology, which figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from biounet_edge.errors import CheckpointError, InputError
from train.config.section import describe_problems
from train.evaluation.report import FILE_NAME, Evaluation, load_evaluation
from train.network import NetworkConfig
from train.tables.rows import ROWS

SIDE: Final = "test"
"""Side of the split that tables report."""

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class JudgedRun:
    """One finished run and its figures on held-out images."""

    folder: Path
    row: str
    """A key of ROWS."""
    seed: int
    network: NetworkConfig
    revisions: tuple[str, ...]
    """Commits of the code that trained it, one a start; none where it is not known."""
    evaluation: Evaluation


class _Sidecar(BaseModel):
    """The part of model.json that tables need."""

    network: NetworkConfig


class _Start(BaseModel):
    git_revision: str | None = None


class _Starts(BaseModel):
    """The part of run.json that tables need."""

    starts: tuple[_Start, ...]


def read_runs(folders: Sequence[Path], source: str | None = None) -> list[JudgedRun]:
    """Read run folders.

    Args:
        folders: Each with model.json and evaluation/<source>-test/evaluation.json.
        source: Data source whose figures are read; None where the runs were judged on one alone.

    Returns:
        The runs in the order of ROWS, then by seed.

    Raises:
        InputError: If a run was not judged, fills no row, or cannot be averaged with the others of its row.
        CheckpointError: If a model.json is missing or damaged.
    """
    if not folders:
        return []
    chosen = source or _only_source(folders)
    runs = [_read_run(folder, chosen) for folder in folders]
    _check_comparable(runs)
    order = list(ROWS)
    return sorted(runs, key=lambda run: (order.index(run.row), run.seed))


def _read_run(folder: Path, source: str) -> JudgedRun:
    network = _read_json(folder / "model.json", _Sidecar).network
    evaluation = load_evaluation(folder / "evaluation" / f"{source}-{SIDE}")
    row = evaluation.model.row
    if row is None or row not in ROWS:
        raise InputError(
            f"{folder} fills row {row!r} of the paper's tables; the rows are {', '.join(ROWS)}; "
            "set `row` in its configuration, or leave the run out"
        )
    return JudgedRun(folder, row, evaluation.model.seed, network, _read_revisions(folder), evaluation)


def _read_revisions(folder: Path) -> tuple[str, ...]:
    path = folder / "run.json"
    starts = _read_json(path, _Starts).starts if path.is_file() else ()
    return tuple(dict.fromkeys(start.git_revision for start in starts if start.git_revision))


def _read_json(path: Path, content: type[Content]) -> Content:
    try:
        return content.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"expected a finished run's {path}, found none; train it with `python -m train fit`"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} does not describe a run ({describe_problems(error)}); run the training command again"
        ) from error


def _only_source(folders: Sequence[Path]) -> str:
    """The one data source that all runs were judged on."""
    names = {
        path.parent.name.removesuffix(f"-{SIDE}")
        for folder in folders
        for path in (folder / "evaluation").glob(f"*-{SIDE}/{FILE_NAME}")
    }
    if not names:
        raise InputError(
            f"no run was judged: expected {folders[0]}/evaluation/<source>-{SIDE}/{FILE_NAME}; "
            "run `python -m train evaluate RUN`"
        )
    if len(names) > 1:
        raise InputError(f"the runs were judged on {', '.join(sorted(names))}; choose one with --source")
    return names.pop()


def _check_comparable(runs: Sequence[JudgedRun]) -> None:
    first: dict[str, JudgedRun] = {}
    seeds: dict[tuple[str, int], JudgedRun] = {}
    for run in runs:
        twin = seeds.setdefault((run.row, run.seed), run)
        if twin is not run:
            raise InputError(
                f"{twin.folder} and {run.folder} are both row {run.row} with seed {run.seed}; "
                "seeds of a row are averaged, so give each once"
            )
        other = first.setdefault(run.row, run)
        if other.network != run.network:
            raise InputError(
                f"{other.folder} and {run.folder} are both row {run.row} but of different networks "
                f"({other.network} and {run.network}); give the runs of one study alone"
            )
