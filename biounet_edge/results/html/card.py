"""HTML of one photograph: picture, layers, and the sum that leads to its probability.

Every text that comes from outside passes `escaped`. A card is one line, so that a page can be taken apart
into its cards again.
"""

from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from biounet_edge.indicators import indicator_label
from biounet_edge.prediction import PredictionFailure
from biounet_edge.results.html.entry import Entry, data_url
from biounet_edge.results.html.run import Run
from biounet_edge.results.html.steps import Axis, Step, logit_of, steps
from biounet_edge.results.text import printable


def escaped(text: str) -> str:
    """Make any text fit for HTML, between tags and in a quoted attribute.

    Args:
        text: Such as a file name.

    Returns:
        The text with markup, control codes, direction marks and undecoded bytes escaped.
    """
    return escape(printable(text), quote=True)


def render_card(entry: Entry, stem: str, order: int, photograph_url: str, run: Run) -> str:
    """Write the card of one photograph.

    Args:
        entry: Numbers and pictures.
        stem: Unique name of its results.
        order: Its place in the run, from 1.
        photograph_url: Where the page finds the photograph.
        run: The run that computed it.

    Returns:
        One line of HTML, without a line break.
    """
    row, melanoma = entry.row, run.manifest.melanoma
    summands = steps(row)
    logit = summands[-1].end
    threshold = logit_of(melanoma.threshold, row["melanoma_temperature"])
    axis = Axis.around([step.end for step in summands] + ([threshold] if threshold is not None else []))
    path = Path(row["image"])
    height, width = entry.canvas
    percent, operating_point = percents(row["melanoma_probability"], melanoma.threshold)
    content = {
        "stem": escaped(stem),
        "bundle": run.checksum,
        "name": escaped(path.name or row["image"]),
        "folder": folder_text(row["image"]),
        "order": str(order),
        "probability": repr(row["melanoma_probability"]),
        "bytes": str(len(entry.photograph)),
        "photograph": escape(photograph_url),
        "width": str(width),
        "height": str(height),
        "layers": "".join(_layers(entry)),
        "verdict": "reached" if row["melanoma"] else "below",
        "percent": percent,
        "decision": "At or above" if row["melanoma"] else "Below",
        "threshold": operating_point,
        "fill": f"{100 * row['melanoma_probability']:.2f}",
        "tick": f"{100 * melanoma.threshold:.2f}",
        "axis": axis.labels(),
        "rows": "".join(_row(step, row, axis, threshold) for step in summands),
        "sum": signed(logit),
        "sum_bar": axis.bar(0, logit, "sum", threshold),
        "temperature": f"{row['melanoma_temperature']:.4g}",
        "warning": _warning(row["warning"]),
        "notes": _notes(row["notes"]),
        "mark": "?" if row["warning"] else "",
    }
    return _template().substitute(content)


def folder_text(image: str) -> str:
    """Write the folder that a photograph is in.

    Args:
        image: Path of the photograph.

    Returns:
        HTML text; empty where the path has no folder.
    """
    folder = Path(image).parent
    return escaped(str(folder)) if folder != Path() else ""


def percents(probability: float, threshold: float) -> tuple[str, str]:
    """Write a probability and its operating point for people, to one decimal or as many as tell them apart.

    Args:
        probability: In [0, 1].
        threshold: In [0, 1].

    Returns:
        Such as "49.96%" and "50.00%", where "50.0%" would seem to reach the operating point.
    """
    decimals = 1
    while probability < threshold and f"{probability:.{decimals}%}" == f"{threshold:.{decimals}%}":
        decimals += 1
    return f"{probability:.{decimals}%}", f"{threshold:.{decimals}%}"


def render_failure(failure: PredictionFailure) -> str:
    """Write the list item of a photograph that could not be read.

    Args:
        failure: Its path and the reason.

    Returns:
        One line of HTML, without a line break.
    """
    return f"<li><bdi>{escaped(failure.source)}</bdi> <span>{escaped(failure.error)}</span></li>"


def _warning(text: str | None) -> str:
    return f'<p class="warning" role="note">Unfamiliar: {escaped(text)}</p>' if text else ""


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escaped(note)}</li>" for note in notes)
    return f'<ul class="notes" aria-label="Notes on the photograph">{items}</ul>' if notes else ""


def signed(value: float) -> str:
    """Write log-odds for people.

    Args:
        value: Any number.

    Returns:
        Three decimals with a sign; zero has a plus.
    """
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")


def _layers(entry: Entry) -> list[str]:
    height, width = entry.canvas
    heatmaps = [
        f'<image class="heatmap {name}" href="{data_url("image/png", content)}" width="{width}" '
        f'height="{height}" preserveAspectRatio="none"/>'
        for name, content in entry.heatmaps.items()
    ]
    # The halo is beneath, so that an outline is seen on light skin and on dark.
    masks = [
        f'<g class="mask {name}"><path class="halo" d="{path}"/><path class="outline" d="{path}"/></g>'
        for name, path in entry.masks.items()
    ]
    return heatmaps + masks


def _row(step: Step, row: dict[str, Any], axis: Axis, threshold: float | None) -> str:
    kind = "bias" if step.name == "bias" else ("for" if step.value >= 0 else "against")
    bar = axis.bar(step.start, step.end, kind, threshold)
    cells = f'<td class="step">{bar}</td><td class="value">{signed(step.value)}</td></tr>'
    if step.name == "bias":
        note = '<span class="finding">before any indicator</span>'
        return f'<tr class="start"><th scope="row">Bias{note}</th>{cells}'
    finding = row["indicators"][step.name]
    if finding["present"] is None:
        state, words = "undecided", "probability only,"
    else:
        state = words = "present" if finding["present"] else "absent"
    note = f"{words} {finding['probability']:.0%}{'?' if row['warning'] else ''}"
    if finding["present"] and finding["area_pct"] is not None:
        note += f", area {finding['area_pct']:.{0 if finding['area_pct'] >= 1 else 1}f}%"
    return (
        f'<tr class="{state}"><th scope="row"><span class="swatch {step.name}"></span>'
        f'{indicator_label(step.name).capitalize()}<span class="finding">{note}</span></th>{cells}'
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    text = files(__package__).joinpath("card.html").read_text(encoding="utf-8")
    return Template("".join(text.splitlines()))
