"""The figures of an exported model as Markdown tables."""

from collections.abc import Sequence
from typing import Final

from biounet_edge.evaluation.bootstrap import Interval
from biounet_edge.evaluation.decisions import Rate
from biounet_edge.indicators import indicator_label
from train.scoring.masks import MaskFigures
from train.scoring.probabilities import DiagnosisFigures, PresenceFigures
from train.tables.paper import TABLE_2

PAPER: Final = TABLE_2["bio_u_net", "grad_cam"]
"""The paper's continuous Dice, percent."""


def format_scores(
    diagnosis: Sequence[DiagnosisFigures],
    presence: Sequence[PresenceFigures],
    masks: Sequence[MaskFigures],
) -> str:
    """Three tables: the diagnosis, presence, masks; each only where there is something to say."""
    sections = []
    if diagnosis:
        sections.append(
            _table(
                "melanoma | images | melanomas | AUC | average precision | sensitivity | specificity "
                "| calibration error",
                [
                    (
                        d.group,
                        str(d.images),
                        str(d.melanomas),
                        _show(d.auc),
                        _show(d.average_precision),
                        _rate(d.decisions.sensitivity),
                        _rate(d.decisions.specificity),
                        _show(d.calibration_error),
                    )
                    for d in diagnosis
                ],
            )
        )
    if presence:
        rows = [
            (
                indicator_label(p.indicator),
                str(p.images),
                str(p.positives),
                _show(p.auc),
                "probability only" if p.decisions is None else _rate(p.decisions.positive_predictive_value),
                "" if p.decisions is None else _rate(p.decisions.sensitivity),
            )
            for p in presence
        ]
        measured = [p.auc.value for p in presence if p.auc is not None]
        rows.append(("mean", "", "", f"{sum(measured) / len(measured):.3f}" if measured else "", "", ""))
        sections.append(
            _table("presence | images | with it | AUC | predictive value of 'present' | sensitivity", rows)
        )
    if masks:
        sections.append(
            _table(
                "masks | of | filled | cDC, filled | paper | last block's Grad-CAM | mask of everything "
                "| cDC, all | Dice | Jaccard | pooled Jaccard",
                [
                    (
                        indicator_label(m.indicator),
                        m.group,
                        f"{m.filled} of {m.images}",
                        _show(m.cdc_filled),
                        f"{PAPER[m.indicator] / 100:.3f}",
                        _show(m.cdc_heatmap),
                        f"{m.cdc_everything:.3f}",
                        _show(m.cdc_all),
                        _show(m.dice),
                        _show(m.jaccard),
                        f"{m.pooled_jaccard:.3f}",
                    )
                    for m in masks
                ],
            )
        )
    return "\n\n".join(sections)


def _show(interval: Interval | None) -> str:
    if interval is None:
        return "not measured"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _rate(rate: Rate) -> str:
    if not rate.images:
        return "not measured"
    low, high = rate.interval
    return f"{rate.value:.3f} ({low:.3f} to {high:.3f}), {rate.hits} of {rate.images}"


def _table(header: str, rows: Sequence[Sequence[str]]) -> str:
    names = header.split(" | ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
