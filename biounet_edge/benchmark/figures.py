"""What a benchmark found, and the arithmetic from measured seconds to it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biounet_edge.bundle.manifest import Level, Precision


@dataclass(frozen=True, slots=True)
class StageFigures:
    """How long one stage took."""

    name: str
    """What was measured."""
    call: str
    """What one call of it works on."""
    p50_ms: float
    """Half of the calls took at most this long, in milliseconds."""
    p90_ms: float
    """Nine tenths of the calls took at most this long, in milliseconds."""
    images_per_s: float
    """Photographs of a round, divided by the median of what all calls of a round took together."""


@dataclass(frozen=True, slots=True)
class BenchmarkFigures:
    """What a benchmark measured, and what on."""

    bundle: str
    """Name and version of the model."""
    checksum: str
    """Checksum of the bundle."""
    level: Level
    """How much was computed."""
    device: str
    """Device that computed it."""
    precision: Precision
    """Number format that it was computed in."""
    backend: str
    """Library, version and device."""
    processor: str
    """The machine's CPU, and how many of its threads this process may use."""
    batch_size: int
    """Photographs that the backend computed at once."""
    photographs: str
    """What was read."""
    images_per_round: int
    """Photographs that every stage worked on in every round."""
    rounds: int
    """How often each stage was measured, in turn with the others."""
    saved: tuple[str, ...]
    """Kinds of image files that were written, beside the tables."""
    stages: tuple[StageFigures, ...]
    """Each stage alone: decode, inference, postprocess, write."""
    end_to_end: StageFigures
    """All stages together, as `biounet-edge predict` runs them: overlapped, results written."""
    gflops_per_image: float | None
    """What the graph computes for one photograph, 2 operations per multiply-add; None if not known."""
    peak_gflops_per_s: float | None
    """Fastest matrix product on the same device in the same precision in the same minutes; None where it was
    not measured."""
    peak_method: str
    """What that product was, or why there is none."""

    @property
    def inference_gflops_per_s(self) -> float | None:
        """What inference computed in a second; None where the graph's operations are not known."""
        if self.gflops_per_image is None:
            return None
        rate = next(stage.images_per_s for stage in self.stages if stage.name == "inference")
        return self.gflops_per_image * rate

    @property
    def peak_fraction(self) -> float | None:
        """Part of the measured peak that inference reached; None where one of the two is not known.

        Above 1 where the machine did something else while the peak was measured.
        """
        rate = self.inference_gflops_per_s
        return None if rate is None or self.peak_gflops_per_s is None else rate / self.peak_gflops_per_s

    def to_dict(self) -> dict[str, Any]:
        """Make the figures ready for JSON.

        Returns:
            All fields, `inference_gflops_per_s` and `peak_fraction`.
        """
        return asdict(self) | {
            "inference_gflops_per_s": self.inference_gflops_per_s,
            "peak_fraction": self.peak_fraction,
        }


def summarise(name: str, call: str, rounds: Sequence[Sequence[float]], images: int) -> StageFigures:
    """Sum up the measurements of one stage.

    Args:
        name: The stage.
        call: What one call works on.
        rounds: Seconds of each call, by round.
        images: Photographs in a round.

    Returns:
        Percentiles of the calls, and the throughput.
    """
    p50, p90 = np.percentile([1e3 * seconds for calls in rounds for seconds in calls], [50, 90])
    throughput = images / float(np.median([sum(calls) for calls in rounds]))
    return StageFigures(name, call, float(p50), float(p90), throughput)
