"""Tables 2 to 6: continuous Dice of every row and method, and the diagnosis beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from biounet_edge.indicators import indicator_label
from train.evaluation.report import MethodName
from train.tables import paper
from train.tables.cells import format_cell, format_markdown
from train.tables.rows import ROWS
from train.tables.runs import JudgedRun

DIAGNOSIS = ("accuracy", "balanced_accuracy", "auc")
"""Figures of the melanoma column, side by side."""

AS_IS = "0.0"
"""Threshold that leaves a map as it is."""


TABLE_2: Final[tuple[tuple[str, MethodName, str], ...]] = (
    ("f_res", "grad_cam", "f_Res + Grad-CAM"),
    ("f_res", "grad_cam_plus_plus", "f_Res + Grad-CAM++"),
    ("f_res", "layer_cam", "f_Res + Layer-CAM"),
    ("f_res", "lime", "f_Res + LIME"),
    ("vat", "grad_cam", "VAT + Grad-CAM"),
    ("bio_u_net", "grad_cam", "Bio-U-Net (Grad-CAM)"),
    ("bio_u_net", "decoder", "Bio-U-Net (decoder)"),
)
"""Row, method and label of each line; the decoder's line is ours."""


@dataclass(frozen=True)
class Line:
    """One line of Tables 2 to 5."""

    label: str
    row: str
    """A key of ROWS."""
    method: MethodName
    published: paper.Figures | None
    """None for lines of ours."""
    switches: tuple[str, ...] = ()
    """Cells between the label and the figures."""
    melanoma: bool = False
    """Whether the line shows the diagnosis; a row's second line does not repeat it."""


def format_table_2(runs: Sequence[JudgedRun]) -> str:
    """Methods: the last block's explanations of three ways to train, and our decoder."""
    lines = [Line(label, row, method, paper.TABLE_2.get((row, method))) for row, method, label in TABLE_2]
    return _both_thresholds(("method",), lines, runs)


def format_rows(
    rows: Sequence[str],
    published: dict[str, paper.Figures],
    runs: Sequence[JudgedRun],
    switches: Sequence[str] = (),
) -> str:
    """One of Tables 3 to 5.

    Args:
        rows: Keys of ROWS, from top to bottom.
        published: The paper's figures by row.
        runs: Ours.
        switches: Columns that tell the rows apart.
    """
    lines = []
    for row in rows:
        cells = tuple(_switch(row, switch) for switch in switches)
        lines.append(Line(ROWS[row].label, row, "grad_cam", published.get(row), cells, melanoma=True))
        if ROWS[row].segmentation:
            lines.append(Line(f"{ROWS[row].label}, decoder", row, "decoder", None, ("",) * len(switches)))
    return _both_thresholds(("row", *switches), lines, runs)


def format_table_6(runs: Sequence[JudgedRun]) -> str:
    """Bio-U-Net's Grad-CAM at each threshold."""
    lines = []
    for indicator in paper.COLUMNS:
        figures = (
            (continuous_dice(runs, "bio_u_net", "grad_cam", indicator, threshold), published)
            for threshold, published in zip(paper.THRESHOLDS, paper.TABLE_6[indicator], strict=True)
        )
        lines.append(
            (indicator_label(indicator), *(format_cell(ours, theirs, 2, 2) for ours, theirs in figures))
        )
    return format_markdown(("threshold", *paper.THRESHOLDS), lines)


def continuous_dice(
    runs: Iterable[JudgedRun], row: str, method: MethodName, indicator: str, threshold: str
) -> list[float]:
    """Percent over filled masks, one value a seed that has it."""
    values = []
    for run in runs:
        judged = run.evaluation.localisation.get(method, {}).get(indicator)
        if run.row != row or judged is None or judged.cdc_filled is None:
            continue
        if threshold == AS_IS:
            values.append(100 * judged.cdc_filled.value)
        elif threshold in judged.cdc_filled_at:
            values.append(100 * judged.cdc_filled_at[threshold])
    return values


def diagnosis(runs: Iterable[JudgedRun], row: str, figure: str) -> list[float]:
    """One of DIAGNOSIS, one value a seed that has it."""
    sections = (run.evaluation.diagnosis for run in runs if run.row == row)
    figures = (getattr(section.figures, figure) for section in sections if section is not None)
    return [known.value for known in figures if known is not None]


def _both_thresholds(keys: tuple[str, ...], lines: Sequence[Line], runs: Sequence[JudgedRun]) -> str:
    as_is = _format_lines(keys, lines, runs, AS_IS, melanoma=any(line.melanoma for line in lines))
    cut = _format_lines(keys, lines, runs, paper.MASK_THRESHOLD, melanoma=False)
    return (
        f"Threshold {AS_IS}, the maps as they are:\n\n{as_is}\n\n"
        f"Threshold {paper.MASK_THRESHOLD}, values below it set to 0:\n\n{cut}"
    )


def _format_lines(
    keys: tuple[str, ...], lines: Sequence[Line], runs: Sequence[JudgedRun], threshold: str, *, melanoma: bool
) -> str:
    header = [*keys, *map(indicator_label, paper.COLUMNS)]
    if melanoma:
        header += ["melanoma accuracy", "melanoma balanced accuracy", "melanoma AUC"]
    rows = []
    for line in lines:
        row = [line.label, *line.switches]
        for indicator in paper.COLUMNS:
            published = line.published[indicator] if line.published else None
            ours = continuous_dice(runs, line.row, line.method, indicator, threshold)
            row.append(format_cell(ours, published, 2, 2))
        if melanoma:
            row += _melanoma_cells(line, runs) if line.melanoma else [""] * len(DIAGNOSIS)
        rows.append(row)
    return format_markdown(header, rows)


def _melanoma_cells(line: Line, runs: Sequence[JudgedRun]) -> list[str]:
    published = paper.MELANOMA.get(line.row)
    return [
        format_cell(diagnosis(runs, line.row, name), None if name == "balanced_accuracy" else published, 3, 2)
        for name in DIAGNOSIS
    ]


def _switch(row: str, switch: str) -> str:
    known = ROWS[row]
    return {
        "f_Seg": "✓" if known.segmentation else "",
        "f_CLR": "✓" if known.contrastive else "",
        "each encoder predicts": known.tasks,
    }[switch]
