"""The page around the cards: what comes before them and after them."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template

from biounet_edge.bundle.manifest import CANNOT_JUDGE, Manifest
from biounet_edge.errors import Category
from biounet_edge.indicators import INDICATORS, indicator_label
from biounet_edge.photographs.left_out import SUBJECT
from biounet_edge.results.html.card import escaped
from biounet_edge.results.html.run import Run
from biounet_edge.results.overlay import COLD, COLOURS
from biounet_edge.version import __version__

_CARDS = "<!-- cards -->"

# Anchor, title, words of the summary and categories of each list of what has no card.
_LISTS: tuple[tuple[str, str, str, tuple[Category, ...]], ...] = (
    ("unfamiliar", "Unfamiliar: not assessed", "unfamiliar", (Category.UNFAMILIAR,)),
    (
        "errors",
        "Not read",
        "could not be read",
        (Category.REFUSED, Category.RETRY, Category.FAILED),
    ),
    ("skipped", "Left out", "left out", (Category.SKIPPED,)),
)


@dataclass(slots=True)
class Counts:
    """How far a run came."""

    read: int = 0
    """Photographs that were read."""
    melanoma: int = 0
    """Those at or above the operating point."""
    unread: dict[Category, list[str]] = field(default_factory=dict)
    """List items, from `render_failure`, of what has no card, by category."""

    @property
    def total(self) -> int:
        """All that was met."""
        return self.read + sum(map(len, self.unread.values()))

    def items(self, *categories: Category) -> list[str]:
        """List what has no card for one of some reasons.

        Args:
            categories: The reasons.

        Returns:
            Items in the order in which they were met, category by category.
        """
        return [item for category in categories for item in self.unread.get(category, [])]


def render_page(run: Run, counts: Counts, written: datetime) -> tuple[str, str]:
    """Write all but the cards.

    Args:
        run: What was to be done.
        counts: How far it came.
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
        "familiarity": _familiarity(manifest),
        "errors": "\n".join(_lists(counts)),
        "style": style,
        "script": script,
        "cards": _CARDS,
    }
    before, after = Template(_read("report.html")).substitute(content).split(_CARDS)
    return before, after


def _summary(counts: Counts) -> str:
    text = f"{counts.read:,} photographs read" if counts.read != 1 else "1 photograph read"
    text += f", {counts.melanoma:,} at or above the operating point of melanoma"
    for name, _, words, categories in _LISTS:
        if items := counts.items(*categories):
            text += f', <a href="#{name}">{len(items):,} {words}</a>'
    return text


def _incomplete(run: Run, counts: Counts) -> str:
    done = counts.total
    if done >= run.total:
        return ""
    text = f"Incomplete: the run ended after {done:,} of {run.total:,} photographs."
    return f'<p class="incomplete" role="note">{text}</p>'


def _left_out(run: Run) -> str:
    """Count what was left out unseen; what a rule left out is named below the cards."""
    found = [part for part in run.left_out if part.reason != SUBJECT]
    if not found:
        return ""
    parts = "".join(f"<li>{escaped(part.sentence)}</li>" for part in found)
    return f'<div class="left-out"><p>Left out</p><ul>{parts}</ul></div>'


def _lists(counts: Counts) -> Iterator[str]:
    """Name what has no card, each kind under a heading of its own."""
    for name, title, _, categories in _LISTS:
        if found := counts.items(*categories):
            items = "\n".join(found)
            yield (
                f'<section id="{name}" class="errors" aria-labelledby="{name}-title"><h2 id="{name}-title">'
                f"{title} ({len(found):,})</h2>\n<ul>\n{items}\n</ul></section>"
            )


def _familiarity(manifest: Manifest) -> str:
    spec = manifest.familiarity
    if spec is None:
        return f"{CANNOT_JUDGE.capitalize()}."
    return (
        "A photograph that is unlike those of the training is not assessed: its score "
        f"({escaped(spec.score)}, {escaped(spec.source)}) is below {spec.threshold:.4g}."
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
