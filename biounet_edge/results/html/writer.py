"""Writes the report of a run while the run goes on."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level
from biounet_edge.errors import OutputError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.left_out import LeftOut
from biounet_edge.prediction import Outcome, Prediction, PredictionFailure
from biounet_edge.results.html.card import escaped, folder_text, render_card, render_failure
from biounet_edge.results.html.card_file import CardFile
from biounet_edge.results.html.entry import data_url, make_entry
from biounet_edge.results.html.page import Counts, render_page
from biounet_edge.results.html.run import Run
from biounet_edge.storage import PendingFile, output_error, write_result

REPORT_NAME = "report.html"

EMBEDDED = 200
"""Largest run whose photographs are in the page itself; above, they are files in report/ beside it.

200 photographs make a page of 11 MB, which Chromium shows in a second on two cores. 1,000 would make one of
53 MB and take seven seconds; with the photographs beside the page they take two.
"""


class ReportWriter:
    """Writes report.html in bounded memory, one card per photograph, in the order they come.

    A context manager: the report appears at its end; after an error or Ctrl-C it holds the photographs that
    were finished and says that it is incomplete. The file is complete or absent.
    """

    def __init__(
        self,
        output: Path,
        bundle: Bundle,
        level: Level,
        device: str,
        total: int,
        *,
        resume: bool = False,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        """Start the report.

        Args:
            output: Output folder; made where it is missing.
            bundle: The bundle that predicts.
            level: How much it computes.
            device: What it is computed on, in words.
            total: Number of photographs that will come.
            resume: Whether `has` and `keep` may use the cards of an earlier run into this folder.
            left_out: What was found beside the photographs.

        Raises:
            OutputError: If the folder cannot be written to.
        """
        self._output, self._path = output, output / REPORT_NAME
        beside = total > EMBEDDED
        self._run = Run(bundle.manifest, bundle.checksum, level, device, total, beside, tuple(left_out))
        self._counts = Counts()
        try:
            self._cards = CardFile(output, self._path, resume)
        except OSError as error:
            raise output_error(self._path, error) from error

    def write(self, image: InputImage, outcome: Outcome) -> None:
        """Add one outcome.

        Args:
            image: The image file.
            outcome: What came of it; a prediction with its `preview`.

        Raises:
            InputError: If a prediction has no preview.
            OutputError: If the report or a picture cannot be written.
        """
        if isinstance(outcome, PredictionFailure):
            self._counts.unread.setdefault(outcome.category, []).append(render_failure(outcome))
            return
        entry = make_entry(outcome)
        if self._run.beside:
            url = self._photograph_url(image.stem)
            write_result(self._output, f"report/{image.stem}.jpg", entry.photograph)
        else:
            url = data_url("image/jpeg", entry.photograph)
        self._add(render_card(entry, image.stem, self._order, url, self._run), outcome)

    def has(self, image: InputImage, outcome: Outcome) -> bool:
        """Return whether `keep` can add an outcome.

        Args:
            image: The image file.
            outcome: What an earlier run computed; needs neither preview nor arrays.

        Returns:
            False where there is no card of it, and it must be computed again.

        Raises:
            OutputError: If the earlier cards cannot be read.
        """
        return isinstance(outcome, PredictionFailure) or self._earlier_card(image.stem, outcome) is not None

    def keep(self, image: InputImage, outcome: Outcome) -> None:
        """Add an outcome that an earlier run computed, with that run's card.

        Args:
            image: The image file.
            outcome: What came of it then; needs neither preview nor arrays.

        Raises:
            OutputError: If there is no such card, or the report cannot be written.
        """
        if isinstance(outcome, PredictionFailure):
            self.write(image, outcome)
            return
        card = self._earlier_card(image.stem, outcome)
        if card is None:
            raise OutputError(
                f"the card of {image.stem} in {self._path} was changed or removed during the run: "
                "start it again"
            )
        card = re.sub(r'data-order="\d+"', f'data-order="{self._order}"', card, count=1)
        folder = f'<p class="folder"><bdi>{folder_text(outcome.source)}</bdi>'
        self._add(re.sub(r'<p class="folder"><bdi>[^<]*</bdi>', lambda _: folder, card, count=1), outcome)

    def _earlier_card(self, stem: str, outcome: Prediction) -> str | None:
        try:
            card = (self._cards.find(escaped(stem).encode()) or b"").decode(errors="replace").rstrip("\n")
        except OSError as error:
            raise output_error(self._path, error) from error
        # A bundle may differ from another in its operating points alone.
        needed = f'data-bundle="{self._run.checksum}"', f'data-probability="{outcome.melanoma_probability!r}"'
        if not all(attribute in card for attribute in needed):
            return None
        if self._run.beside:
            there = f'src="{self._photograph_url(stem)}"' in card and self._has_photograph(stem, card)
        else:
            there = 'src="data:image/jpeg' in card
        return card if there else None

    @property
    def _order(self) -> int:
        return self._counts.total + 1

    def _has_photograph(self, stem: str, card: str) -> bool:
        try:
            size = (self._output / "report" / f"{stem}.jpg").stat().st_size
        except OSError:
            return False
        return f'data-bytes="{size}"' in card

    def _photograph_url(self, stem: str) -> str:
        return quote(os.fsencode(f"report/{stem}.jpg"))

    def _add(self, card: str, outcome: Prediction) -> None:
        try:
            self._cards.add(card.encode() + b"\n")
        except OSError as error:
            raise output_error(self._path, error) from error
        self._counts.read += 1
        self._counts.melanoma += outcome.melanoma

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the report in place; after an error only if that succeeds and the report is not empty.

        Raises:
            OutputError: If it cannot be written.
        """
        if error is None:
            self._close()
        elif self._counts.total == 0:
            self._cards.close(remove=False)
        else:
            with suppress(OSError):
                self._close()

    def _close(self) -> None:
        """Put the page together: what comes before the cards is known only now."""
        before, after = render_page(self._run, self._counts, datetime.now().astimezone())
        placed = False
        page: PendingFile | None = None
        try:
            page = PendingFile(self._path)
            page.file.write(before.encode())
            self._cards.copy_to(page.file)
            page.file.write(after.encode())
            self._cards.close(remove=False)  # some systems replace no file that is open
            page.place()
            placed = True
        except OSError as error:
            raise output_error(self._path, error) from error
        finally:
            if page is not None:
                page.discard()
            self._cards.close(remove=placed)
