"""Training curves of one run: each loss and each validation figure over the epochs, as PNG."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS, indicator_label
from train.tables.png import save_figure
from train.tasks import MELANOMA

COLOURS: Final = dict(zip(INDICATORS, ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"), strict=True))
"""Told apart by readers with any colour vision.

Source: Okabe and Ito, Color Universal Design, 2008, https://jfly.uni-koeln.de/color/
"""

OTHER: Final = "#404040"
"""Stages over all indicators together."""

GUIDE: Final = "#9a9a9a"

PANEL_KINDS: Final = (
    "loss",
    "validation AUC, indicator",
    "validation AUC, melanoma",
    "validation continuous Dice",
)
"""How the names of panels begin, in the order of the figure."""

COLUMNS: Final = 3
PANEL_INCHES: Final = (4.0, 2.7)


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    panel: str
    label: str
    colour: str
    epochs: list[int]
    """Counted from the start of pretraining where there was one."""
    values: list[float]
    begin: int
    """Epochs of the pretraining before the line."""
    kept: float | None = None
    """Epoch whose weights the run kept, where the panel shows a validation figure."""


def draw_curves(run: Path, output: Path) -> None:
    """Draw the curves of a run, finished or not.

    Args:
        run: Run folder with metrics.jsonl.
        output: PNG to write.

    Raises:
        InputError: If the folder has no metrics, or no epoch in them.
    """
    curves = list(read_curves(run))
    panels = list(dict.fromkeys(curve.panel for curve in sorted(curves, key=_panel_order)))
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure((columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 0.8), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    begin = max((curve.begin for curve in curves), default=0)
    for panel, axis in zip(panels, axes, strict=False):
        _draw_panel(axis, panel, [curve for curve in curves if curve.panel == panel], begin)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(run.resolve().name, fontsize=12, fontweight="bold")
    handles = _legend(curves)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=9
    )
    save_figure(figure, output)


def read_curves(run: Path) -> Iterator[Curve]:
    """The curves of metrics.jsonl; an epoch that a resumed run repeated counts once, as it was last.

    Raises:
        InputError: If the folder has no metrics, or no epoch in them.
    """
    stages = _read_epochs(run / "metrics.jsonl")
    begin = 0
    for stage, lines in stages.items():
        pretraining = stage.startswith("pretrain")
        epochs = [begin + epoch for epoch in lines]
        kept = _kept_epoch(lines)
        for panel, label, colour, values in _values(stage, list(lines.values())):
            known = [(e, v) for e, v in zip(epochs, values, strict=True) if v is not None]
            shown = None if kept is None or panel.startswith("loss") else begin + kept
            if known:
                yield Curve(panel, label, colour, [e for e, _ in known], [v for _, v in known], begin, shown)
        if pretraining:
            begin += max(lines)


def _read_epochs(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Stage to epoch to line, in the order of the file."""
    if not path.is_file():
        raise InputError(f"expected the metrics of a run at {path}, found none; give a run folder of `fit`")
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON ({error}); remove that line") from error
        if isinstance(line.get("epoch"), int) and "losses" in line:
            stages.setdefault(line["stage"], {})[line["epoch"]] = line
    if not stages:
        raise InputError(f"{path} has no finished epoch yet; wait for the first one")
    return stages


def _kept_epoch(lines: dict[int, dict[str, Any]]) -> int | None:
    scores = {epoch: line["score"] for epoch, line in lines.items() if line.get("score") is not None}
    return max(scores, key=lambda epoch: (scores[epoch], -epoch)) if scores else None


def _values(
    stage: str, lines: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, str, str, list[float | None]]]:
    """Panel, label, colour and one value a line, for everything that a stage logs."""
    label, colour = _stage_style(stage)
    for name in dict.fromkeys(name for line in lines for name in line["losses"]):
        yield f"loss: {name.replace('_', ' ')}", label, colour, [line["losses"].get(name) for line in lines]
    for name in dict.fromkeys(key for line in lines for key in line):
        kind, _, task = name.partition("_")
        values = [line.get(name) for line in lines]
        if kind == "auc" and task == MELANOMA:
            yield "validation AUC, melanoma", label, colour, values
        elif kind == "auc" and task in COLOURS:
            yield "validation AUC, indicator", indicator_label(task), COLOURS[task], values
        elif kind == "cdc" and task in COLOURS:
            yield "validation continuous Dice, decoder", indicator_label(task), COLOURS[task], values


def _stage_style(stage: str) -> tuple[str, str]:
    """Label and colour of a stage: those of its indicator, else of several together."""
    if stage in COLOURS:
        return indicator_label(stage), COLOURS[stage]
    tasks = stage.split("+")
    if set(tasks) < set(COLOURS):
        return " + ".join(map(indicator_label, tasks)), COLOURS[tasks[0]]
    return "one encoder for all indicators", OTHER


def _panel_order(curve: Curve) -> int:
    return [curve.panel.startswith(kind) for kind in PANEL_KINDS].index(True)


def _draw_panel(axis: Axes, title: str, curves: Iterable[Curve], begin: int) -> None:
    if begin:
        axis.axvline(begin + 0.5, color=GUIDE, linewidth=0.8, linestyle=":")
    for curve in curves:
        lone = "o" if len(curve.epochs) == 1 else None
        style = "--" if " + " in curve.label else "-"
        axis.plot(
            curve.epochs, curve.values, style, color=curve.colour, linewidth=1.6, marker=lone, markersize=4
        )
        if curve.kept in curve.epochs:
            value = curve.values[curve.epochs.index(int(curve.kept))]
            axis.plot(curve.kept, value, "o", color=curve.colour, markersize=5.5, markeredgecolor="white")
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel("epoch", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(labelsize=8, labelbottom=True)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(curves: Sequence[Curve]) -> list[Line2D]:
    styles = {curve.label: curve.colour for curve in curves}
    handles = [
        Line2D([], [], color=colour, linewidth=2, linestyle="--" if " + " in label else "-", label=label)
        for label, colour in styles.items()
    ]
    if any(curve.kept is not None for curve in curves):
        dot = Line2D([], [], label="weights kept", color=OTHER, marker="o", linestyle="")
        dot.set_markeredgecolor("white")
        handles.append(dot)
    if any(curve.begin for curve in curves):
        handles.append(Line2D([], [], label="end of pretraining", color=GUIDE, linestyle=":"))
    return handles
