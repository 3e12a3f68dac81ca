"""Rendered forms, letters, tables and notes, as they look on a screen or from a scanner."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from benchmarks.foreign.paper import handwrite, make_scan, stamp
from benchmarks.foreign.picture import Picture, Set

Generator = np.random.Generator

PER_LAYOUT: Final[dict[Set, int]] = {"choose": 2, "judge": 3}
"""Documents of each layout; the first is a screenshot, the others are scans."""

WIDTH, HEIGHT = 620, 877  # A4 at 75 dots per inch

WORDS: Final = (
    "patient", "visit", "skin", "lesion", "left", "right", "arm", "back", "shoulder", "months", "history",
    "no", "known", "allergy", "referred", "by", "practice", "follow", "up", "dermoscopy", "margin",
    "excision", "result", "pending", "biopsy", "taken", "advised", "sun", "protection", "again", "after",
    "six", "weeks", "without", "complaint", "stable", "size", "colour", "border", "family", "parent",
    "treated", "before", "medication", "none", "daily", "dose", "tablet", "cream", "applied", "twice",
    "explained", "consent", "given", "copy", "sent", "to",
)  # fmt: skip
NAMES: Final = (
    "A. Weber", "M. Rossi", "L. Novak", "J. Silva", "K. Jensen", "P. Martin", "S. Kaya", "E. Horvat",
)  # fmt: skip
FIELDS: Final = (
    "Name", "Date of birth", "Insurance no.", "Address", "Phone", "Physician", "Date", "Site", "Diagnosis",
)  # fmt: skip
TESTS: Final = (
    "Haemoglobin", "Leukocytes", "Platelets", "Sodium", "Potassium", "Creatinine", "CRP", "Glucose", "LDH",
)  # fmt: skip


class Page:
    """A page that is drawn from top to bottom."""

    def __init__(
        self, rng: Generator, size: tuple[int, int] = (WIDTH, HEIGHT), colour: str = "white"
    ) -> None:
        """Begin an empty page of a width and height."""
        self.rng = rng
        self.image = Pillow.new("RGB", size, colour)
        self.draw = ImageDraw.Draw(self.image)
        self.y = 40

    def line(self, text: str, size: int = 13, x: int = 50, colour: str = "black") -> None:
        """Write a line and go on beneath it."""
        self.draw.text((x, self.y), text, colour, ImageFont.load_default(size))
        self.y += round(size * 1.5)

    def paragraph(self, lines: int, x: int = 50, words: int = 11) -> None:
        """Write lines of words drawn at random."""
        for _ in range(lines):
            self.line(" ".join(self.rng.choice(WORDS, words)).capitalize(), 13, x)
        self.y += 12

    def write_by_hand(self, x: int, letters: int, size: float = 11) -> None:
        """Write a line of scribble beside what was printed last."""
        handwrite(self.draw, self.rng, (x, self.y - 12), letters, size)

    def pick(self, values: tuple[str, ...]) -> str:
        """Draw one of some texts."""
        return str(self.rng.choice(values))


def make_documents(of: Set) -> Iterator[Picture]:
    """Render the documents of one set."""
    for place, (name, layout) in enumerate(LAYOUTS.items()):
        for copy in range(PER_LAYOUT[of]):
            rng = np.random.default_rng([23, of == "judge", place, copy])
            pixels = np.asarray(layout(rng).image)
            yield Picture(
                of, "documents", f"{name}-{copy}", "made", make_scan(pixels, rng) if copy else pixels
            )


def _form(rng: Generator) -> Page:
    page = Page(rng)
    page.line("Registration form", 26)
    for field in FIELDS:
        page.y += 26
        page.line(field, 12)
        page.draw.rectangle((200, page.y - 26, 570, page.y + 4), outline="black")
        page.write_by_hand(210, int(rng.integers(5, 16)))
    page.y += 20
    for _ in range(6):
        page.draw.rectangle((50, page.y, 64, page.y + 14), outline="black")
        if rng.random() < 0.5:
            page.draw.line((50, page.y, 66, page.y + 15, 58, page.y + 4), fill=(20, 30, 140), width=2)
        page.line(" ".join(rng.choice(WORDS, 5)), 12, 76)
    return page


def _letter(rng: Generator) -> Page:
    page = Page(rng)
    page.line("Dermatology Practice", 20, 330, "darkblue")
    page.line(f"Dr. {page.pick(NAMES)}", 13, 330)
    page.y += 60
    day, month, year = rng.integers((1, 1, 1935), (29, 13, 2010))
    page.line(f"Re: {page.pick(NAMES)}, born {day}.{month}.{year}", 14)
    page.y += 20
    for _ in range(3):
        page.paragraph(int(rng.integers(3, 7)))
    page.line("Kind regards")
    page.y += 40
    page.write_by_hand(60, 9, 16)
    stamp(page.image, rng, (430, page.y - 20), "Dermatology Practice")
    return page


def _laboratory(rng: Generator) -> Page:
    page = Page(rng)
    page.line("Laboratory report", 22)
    page.line(f"{page.pick(NAMES)}    no. {rng.integers(10_000, 99_999)}")
    page.y += 16
    for row, test in enumerate(("Test", *rng.permutation(TESTS), *rng.permutation(TESTS))):
        top = page.y - 4
        if row % 2:
            page.draw.rectangle((45, top, 575, top + 24), fill=(232, 238, 246))
        low = float(rng.uniform(0.5, 90))
        value = f"{low * rng.uniform(0.8, 1.9):.1f}"
        cells = (str(test), value, f"{low:.1f} - {low * 1.6:.1f}") if row else ("Test", "Result", "Reference")
        for x, cell in zip((50, 260, 400), cells, strict=True):
            page.draw.text((x, page.y), cell, "black", ImageFont.load_default(12))
        page.y += 24
    return page


def _table(rng: Generator) -> Page:
    page = Page(rng, (877, 620))
    columns, rows = int(rng.integers(5, 9)), int(rng.integers(14, 20))
    for row in range(rows + 1):
        y = 40 + row * 540 // rows
        page.draw.line((30, y, 847, y), fill="grey")
        for column in range(columns if row < rows else 0):
            text = page.pick(FIELDS) if row == 0 else f"{rng.normal(50, 20):.2f}"
            page.draw.text((36 + column * 817 // columns, y + 6), text, "black", ImageFont.load_default(11))
    for column in range(columns + 1):
        x = 30 + column * 817 // columns
        page.draw.line((x, 40, x, 580), fill="grey")
    return page


def _prescription(rng: Generator) -> Page:
    page = Page(rng, (560, 400), str(rng.choice(("mistyrose", "honeydew", "white"))))
    page.line("Prescription", 18, colour="darkred")
    page.draw.rectangle((30, 30, 530, 370), outline="darkred")
    for _ in range(5):
        page.y += 34
        page.write_by_hand(60, int(rng.integers(10, 24)), 15)
        page.draw.line((50, page.y + 8, 510, page.y + 8), fill="rosybrown")
    stamp(page.image, rng, (330, 280), f"Dr. {page.pick(NAMES)}")
    return page


def _note(rng: Generator) -> Page:
    page = Page(rng, (500, 640), str(rng.choice(("lightyellow", "white", "ivory"))))
    for y in range(50, 630, 34):
        page.draw.line((0, y, 500, y), fill="lightsteelblue")
        page.y = y + 8
        if rng.random() < 0.8:
            page.write_by_hand(30, int(rng.integers(8, 26)), 14)
    return page


def _chart(rng: Generator) -> Page:
    page = Page(rng, (800, 560))
    page.line("Visits by month", 24, 260)
    page.draw.line((80, 90, 80, 480, 760, 480), fill="black", width=2)
    colours = ("steelblue", "tomato", "seagreen", "goldenrod")
    colour = page.pick(colours)
    heights = rng.integers(30, 370, 12)
    if rng.random() < 0.5:
        for month, height in enumerate(heights):
            page.draw.rectangle((95 + month * 55, 480 - int(height), 130 + month * 55, 480), fill=colour)
    else:
        page.draw.line([(100 + 55 * m, 480 - int(h)) for m, h in enumerate(heights)], fill=colour, width=4)
    for month in range(12):
        page.draw.text((100 + month * 55, 490), f"{month + 1}", "black", ImageFont.load_default(14))
    return page


def _slide(rng: Generator) -> Page:
    page = Page(rng, (960, 540), str(rng.choice(("white", "midnightblue", "darkslategrey"))))
    ink = "black" if page.image.getpixel((0, 0)) == (255, 255, 255) else "white"
    page.line(" ".join(rng.choice(WORDS, 4)).title(), 40, colour=ink)
    page.y += 40
    for _ in range(int(rng.integers(3, 6))):
        page.line("-  " + " ".join(rng.choice(WORDS, 6)), 26, 70, ink)
        page.y += 20
    return page


def _terminal(rng: Generator) -> Page:
    page = Page(rng, (800, 500), "black")
    page.y = 10
    for _ in range(22):
        words = " ".join(rng.choice(WORDS, int(rng.integers(3, 11))))
        page.line(
            f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}  {words}",
            13,
            10,
            page.pick(("lime", "white", "gold")),
        )
    return page


def _two_columns(rng: Generator) -> Page:
    page = Page(rng)
    page.line(" ".join(rng.choice(WORDS, 6)).capitalize(), 20)
    top = page.y
    for x in (45, 325):
        page.y = top
        for _ in range(5):
            page.paragraph(int(rng.integers(4, 8)), x, 5)
    return page


LAYOUTS: Final[dict[str, Callable[[Generator], Page]]] = {
    "form": _form,
    "letter": _letter,
    "laboratory": _laboratory,
    "table": _table,
    "prescription": _prescription,
    "note": _note,
    "chart": _chart,
    "slide": _slide,
    "terminal": _terminal,
    "two-columns": _two_columns,
}
"""How each document is drawn."""
