"""The steps from the bias to the melanoma probability, as bars that add up."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One summand of the log-odds of melanoma."""

    name: str
    """Name of the indicator; "bias" for what is there without any."""
    value: float
    """Log-odds that it adds."""
    start: float
    """Sum of all summands before it, in log-odds."""

    @property
    def end(self) -> float:
        """Sum with this summand, in log-odds: the next one's start."""
        return self.start + self.value


def steps(row: dict[str, Any]) -> list[Step]:
    """Line up the bias and the contributions.

    Args:
        row: A prediction's numbers, from `Prediction.to_dict`.

    Returns:
        The summands in their order; the last one's `end` is the logit before temperature.
    """
    found = [Step("bias", row["melanoma_bias"], 0.0)]
    for name, finding in row["indicators"].items():
        found.append(Step(name, finding["contribution"], found[-1].end))
    return found


def logit_of(probability: float, temperature: float) -> float | None:
    """Return the log-odds that a probability needs.

    Args:
        probability: In [0, 1].
        temperature: Calibration: probability = sigmoid(logit / temperature).

    Returns:
        The logit before temperature; None where no finite one reaches it or every one does.
    """
    if not 0 < probability < 1:
        return None
    return temperature * math.log(probability / (1 - probability))


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of log-odds that holds zero, not too close to its ends."""

    low: float
    """Log-odds at the left end, below zero."""
    high: float
    """Log-odds at the right end, above zero."""

    @classmethod
    def around(cls, values: list[float]) -> "Axis":
        """Choose a short axis that holds all values, of few lengths so that cards can be compared.

        Args:
            values: Log-odds.

        Returns:
            An axis whose ends are powers of two, one at most twice as far from zero as the other.
        """
        low, high = _power_of_two(-min(values)), _power_of_two(max(values))
        return cls(-max(low, high / 2), max(high, low / 2))

    def labels(self) -> str:
        """Write the numbers at both ends and at zero.

        Returns:
            An SVG element.
        """
        texts = (
            f'<text x="{self._at(value):.2f}%" y="1em" text-anchor="{anchor}">{text}</text>'
            for value, anchor, text in (
                (self.low, "start", f"\N{MINUS SIGN}{-self.low:g}"),
                (0.0, "middle", "0"),
                (self.high, "end", f"+{self.high:g}"),
            )
        )
        return f'<svg class="axis" role="presentation" focusable="false">{"".join(texts)}</svg>'

    def bar(self, start: float, end: float, kind: str, threshold: float | None) -> str:
        """Draw one bar, with lines that lead from the bar above it to the one beneath it.

        Args:
            start: Log-odds where it begins.
            end: Log-odds where it ends.
            kind: CSS class of the bar.
            threshold: Log-odds of the operating point, or None.

        Returns:
            An SVG element; its height is the cell's.
        """
        return "".join(self._parts(start, end, kind, threshold))

    def _parts(self, start: float, end: float, kind: str, threshold: float | None) -> Iterator[str]:
        left, right = self._at(min(start, end)), self._at(max(start, end))
        width = max(right - left, 0.4)  # a bar of nothing is still seen
        yield '<svg class="bar" aria-hidden="true" focusable="false">'
        yield self._line(0, "zero")
        if threshold is not None:
            yield self._line(threshold, "threshold")
        if kind == "sum":
            yield self._line(end, "carry", bottom=50)
        else:
            yield self._line(start, "carry", bottom=50) if kind != "bias" else ""
            yield self._line(end, "carry", top=50)
        yield f'<rect class="{kind}" x="{left:.2f}%" width="{width:.2f}%" y="22%" height="56%"/></svg>'

    def _line(self, value: float, kind: str, top: int = 0, bottom: int = 100) -> str:
        x = f"{self._at(value):.2f}%"
        return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}%" y2="{bottom}%"/>'

    def _at(self, value: float) -> float:
        """Place a value on the axis, in percent of its length."""
        return 100 * (value - self.low) / (self.high - self.low)


def _power_of_two(value: float) -> float:
    """Round up to 1, 2, 4, 8, ..."""
    return float(2.0 ** math.ceil(math.log2(max(1.0, value))))
