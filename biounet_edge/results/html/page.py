"""The page around the cards: what comes before them and after them."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template

from biounet_edge.bundle.manifest import Manifest
from biounet_edge.indicators import INDICATORS, indicator_label
from biounet_edge.results.html.card import escaped
from biounet_edge.results.html.run import Run
from biounet_edge.results.overlay import COLD, COLOURS
from biounet_edge.version import __version__

_CARDS = "<!-- cards -->"


@dataclass(slots=True)
class Counts:
    """How far a run came."""

    read: int = 0
    """Photographs that were read."""
    melanoma: int = 0
    """Those at or above the operating point."""
    failures: int = 0
    """Photographs that could not be read."""


def render_page(run: Run, counts: Counts, failures: list[str], written: datetime) -> tuple[str, str]:
    """Write all but the cards.

    Args:
        run: What was to be done.
        counts: How far it came.
        failures: List items from `render_failure`.
        written: Time of the report.

    Returns:
        What comes before the cards and after them.
    """
    manifest = run.manifest
    style, script = _style(manifest.notice), _read("report.js")
    notice = f'<p class="notice" role="note">{escaped(manifest.notice)}</p>' if manifest.notice else ""
    content = {
        "policy": _policy(style, script, run.beside),
        "version": __version__,
        "model": escaped(f"{manifest.name} {manifest.version}"),
        "checksum": run.checksum[:12],
        "device": escaped(run.device),
        "threshold": f"{manifest.melanoma.threshold:.1%}",
        "temperature": f"{manifest.melanoma.temperature:.4g}",
        "presence": _presence(manifest),
        "undecided": _undecided(manifest),
        "cold": f"{COLD:.0%}",
        "written": written.isoformat(timespec="seconds"),
        "when": written.strftime("%Y-%m-%d %H:%M %Z"),
        "summary": _summary(counts),
        "incomplete": _incomplete(run, counts),
        "left_out": _left_out(run),
        "notice": notice,
        "layer_boxes": "\n".join(_layer_boxes(run)),
        "errors": _errors(failures),
        "style": style,
        "script": script,
        "cards": _CARDS,
    }
    before, after = Template(_read("report.html")).substitute(content).split(_CARDS)
    return before, after


def _summary(counts: Counts) -> str:
    text = f"{counts.read:,} photographs read" if counts.read != 1 else "1 photograph read"
    text += f", {counts.melanoma:,} at or above the operating point of melanoma"
    if counts.failures:
        text += f', <a href="#errors">{counts.failures:,} could not be read</a>'
    return text


def _incomplete(run: Run, counts: Counts) -> str:
    done = counts.read + counts.failures
    if done >= run.total:
        return ""
    text = f"Incomplete: the run ended after {done:,} of {run.total:,} photographs."
    return f'<p class="incomplete" role="note">{text}</p>'


def _left_out(run: Run) -> str:
    if not run.left_out:
        return ""
    parts = "".join(f"<li>{escaped(part.sentence)}</li>" for part in run.left_out)
    return f'<div class="left-out"><p>Left out</p><ul>{parts}</ul></div>'


def _errors(failures: list[str]) -> str:
    if not failures:
        return ""
    items = "\n".join(failures)
    return (
        f'<section id="errors" class="errors" aria-labelledby="errors-title"><h2 id="errors-title">Not read '
        f"({len(failures):,})</h2>\n<ul>\n{items}\n</ul></section>"
    )


def _presence(manifest: Manifest) -> str:
    points = ((name, manifest.operating_points[name].presence) for name in INDICATORS)
    shown = (f"{indicator_label(name)} {point:.1%}" for name, point in points if point is not None)
    return ", ".join(shown) or "none has one"


def _undecided(manifest: Manifest) -> str:
    names = [indicator_label(name) for name in INDICATORS if manifest.operating_points[name].presence is None]
    if not names:
        return ""
    return f" Probability only, without operating point, mask or heatmap: {', '.join(names)}."


def _layer_boxes(run: Run) -> list[str]:
    """One box per kind of layer, the best one checked, and one per indicator that can be present."""
    level, points = run.level, run.manifest.operating_points
    if level == "classify":
        return ["<span>no layers at level classify</span>"]
    kinds = {"masks": True, "heatmaps": False} if level == "full" else {"heatmaps": True}
    boxes = [
        f'<label><input type="checkbox" id="show-{kind}"{" checked" if checked else ""}> {kind}</label>'
        for kind, checked in kinds.items()
    ]
    boxes.append('<span class="divider"></span>')
    return boxes + [
        f'<label><input type="checkbox" id="show-{name}" checked> <span class="swatch {name}"></span>'
        f"{indicator_label(name)}</label>"
        for name in INDICATORS
        if points[name].presence is not None
    ]


def _style(notice: str | None) -> str:
    """Add to the style sheet what follows from the indicators and the notice."""
    rules = [_read("report.css")]
    for name, colour in COLOURS.items():
        red_green_blue = " ".join(map(str, colour))
        rules.append(f".swatch.{name} {{ background: rgb({red_green_blue}); }}")
        rules.append(f".{name} .outline {{ stroke: rgb({red_green_blue}); fill: rgb({red_green_blue}); }}")
        rules.append(
            f":root:has(#show-{name}:not(:checked)) :is(.mask, .heatmap).{name} {{ display: none; }}"
        )
    corners = '@bottom-right { font: 8pt sans-serif; content: counter(page) " / " counter(pages); }'
    if notice:
        text = "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):06x}" for c in notice)
        corners += f' @bottom-left {{ font: bold 8pt sans-serif; content: "{text}"; }}'
    return "\n".join([*rules, f"@page {{ {corners} }}", ""])


def _policy(style: str, script: str, beside: bool) -> str:
    """Forbid everything but this very style, this very script and the pictures."""
    pictures = "data: 'self' file:" if beside else "data:"
    return escape(
        f"default-src 'none'; img-src {pictures}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@lru_cache
def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
