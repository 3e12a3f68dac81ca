"""What a viewer does when another photograph is selected, without a viewer.

    python examples/viewer_callback.py samples/ISIC_0000166.jpg samples/ISIC_0000234.jpg

A user interface must not wait for a model, and must not show the findings of a photograph that is no longer
selected. `Findings` computes on a thread of its own and hands over the latest selection only. `deliver` runs
on that thread: in Qt it emits a signal, elsewhere it fills a queue that the thread of the widgets empties.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biounet_edge import ImageError, Prediction, Predictor
from biounet_edge.photographs.decoding import decode
from biounet_edge.results.overlay import draw_overlay

Deliver = Callable[[Path, Prediction | None, NDArray[np.uint8] | None, str], None]
"""Gets the photograph, its prediction, the overlay (RGB, uint8) and, where there is none, the reason."""


class Findings:
    """Predicts what is selected, one photograph at a time, and forgets selections that were overtaken."""

    def __init__(self, predictor: Predictor, deliver: Deliver) -> None:
        """Starts the thread.

        Args:
            predictor: A loaded bundle.
            deliver: Gets what was found, on the thread of this object.
        """
        self._predictor, self._deliver = predictor, deliver
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="findings")
        self._latest: Future[None] | None = None
        self._selected: Path | None = None

    def select(self, path: Path) -> None:
        """Takes a new selection, and returns at once: the callback.

        Args:
            path: The photograph that is selected now.
        """
        self._selected = path
        if self._latest is not None:
            self._latest.cancel()  # does nothing if it has begun; then its result is dropped below
        self._latest = self._thread.submit(self._compute, path)

    def close(self) -> None:
        """Waits for what is being computed; call it before the predictor is closed."""
        self._thread.shutdown()
        if self._latest is not None:
            self._latest.result()  # a mistake in `deliver` must not go unseen

    def _compute(self, path: Path) -> None:
        try:
            prediction = self._predictor.predict(path)
            overlay = draw_overlay(prediction, decode(path), self._predictor.bundle.manifest.notice)
        except ImageError as error:
            self._hand_over(path, None, None, str(error))
        else:
            self._hand_over(path, prediction, overlay, "")

    def _hand_over(
        self, path: Path, prediction: Prediction | None, overlay: NDArray[np.uint8] | None, reason: str
    ) -> None:
        if path == self._selected:
            self._deliver(path, prediction, overlay, reason)


def show(path: Path, prediction: Prediction | None, overlay: NDArray[np.uint8] | None, reason: str) -> None:
    """Stands for the widget: prints what it would show.

    Args:
        path: The photograph.
        prediction: What was found, or None.
        overlay: The photograph with the findings drawn on it, RGB, shape (h, w, 3), uint8, or None.
        reason: Why there is no prediction.
    """
    if prediction is None or overlay is None:
        print(f"{path}: {reason}")
        return
    findings = prediction.indicators.items()
    present = ", ".join(name for name, finding in findings if finding.present) or "no indicator"
    undecided = "".join(
        f"; probability only: {name} {finding.probability:.0%}"
        for name, finding in findings
        if finding.present is None  # neither present nor absent
    )
    print(
        f"{path}: melanoma {prediction.melanoma_probability:.1%}, {present}{undecided}; "
        f"overlay {overlay.shape[1]} x {overlay.shape[0]}"
    )


def main(paths: list[Path]) -> None:
    """Selects the photographs in quick succession; at least the last one is shown.

    Args:
        paths: Photographs.
    """
    with Predictor() as predictor:
        findings = Findings(predictor, show)
        for path in paths:
            findings.select(path)
        findings.close()


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
