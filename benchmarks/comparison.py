"""Times several sides in alternation and says how far their outputs agree with the baseline's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import Machine
from benchmarks.parts import Arrays
from benchmarks.sides import BASELINE, SIDES, Side
from biounet_edge.benchmark.peak import PeakMeter
from biounet_edge.bundle.manifest import Level, Manifest, Precision
from biounet_edge.checks.agreement import Agreement, AgreementMeter
from biounet_edge.errors import BackendUnavailableError

PAUSE_S = 0.05
"""Between two sides: threads of the last one still look for work for some milliseconds, on the same cores."""

TORCH_SIZE = 2048
"""Rows of the matrices that PyTorch's peak is measured on."""


@dataclass(frozen=True)
class Row:
    """What was measured of one side."""

    side: str
    """One of `SIDES`."""
    description: str
    """What it is."""
    problem: str | None = None
    """Why it was not measured; None where it was."""
    precision: Precision | None = None
    """Number format that it computed in."""
    images_per_call: int | None = None
    """Images that it computed at once: the batch, or fewer."""
    seconds_per_image: float | None = None
    """Median over the rounds."""
    ratio: float | None = None
    """Baseline's seconds per image divided by this side's, median over the rounds: above 1 is faster."""
    threads_busy: float | None = None
    """CPU seconds per second, median over the rounds: how many threads it kept busy."""
    gflops_per_s: float | None = None
    """The baseline's operations for an image, 2 per multiply-add, divided by this side's seconds."""
    peak_fraction: float | None = None
    """Part of the measured peak in its precision; None where that is not known."""
    agreement: Agreement | None = None
    """Its outputs compared with the baseline's, over the images of all rounds."""


@dataclass(frozen=True)
class Comparison:
    """What was measured."""

    bundle: str
    """Name and version of the model."""
    level: Level
    """How much was computed."""
    image_size_px: int
    """Height and width of the input."""
    photographs: str
    """What was read."""
    batch_size: int
    """Images of a call."""
    rounds: int
    """How often each side ran, in alternation."""
    gflops_per_image: float
    """What the baseline computes for an image, 2 operations per multiply-add, counted by PyTorch."""
    machine: Machine
    """Processor, threads, versions."""
    peaks: dict[str, tuple[float, str]]
    """By precision: fastest matrix product in GFLOP/s, and what it was."""
    rows: tuple[Row, ...] = field(default_factory=tuple)
    """One per side."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


class Peaks:
    """The fastest matrix product of any library, by precision: one machine has one peak."""

    def __init__(self, sides: Sequence[Side]) -> None:
        """Prepares the products of the libraries that the sides need.

        Args:
            sides: What is compared.
        """
        self.best: dict[str, tuple[float, str]] = {}
        self._meters: list[tuple[Precision, PeakMeter]] = []
        for precision in {side.precision for side in sides}:
            for device in ("cpu", "openvino"):
                try:
                    self._meters.append((precision, PeakMeter(device, precision)))
                except (BackendUnavailableError, ImportError):
                    continue  # the other libraries are measured

    def measure(self) -> None:
        """Multiplies in each library once more."""
        for precision, meter in self._meters:
            meter.measure()
            self._keep(precision, meter.gflops_per_s, meter.method)
        for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            self._keep(precision, _torch_rate(dtype), f"matmul in torch {torch.__version__}")

    def _keep(self, precision: str, rate: float, method: str) -> None:
        if rate > self.best.get(precision, (0.0, ""))[0]:
            self.best[precision] = (rate, method)


def _torch_rate(dtype: torch.dtype) -> float:
    matrix = torch.rand(TORCH_SIZE, TORCH_SIZE, dtype=dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return 2 * TORCH_SIZE**3 / min(times) / 1e9


class _Measurement:
    """What is known of one side while the rounds go on."""

    def __init__(self, side: Side, manifest: Manifest) -> None:
        self.side = side
        self.meter = AgreementMeter(manifest)
        self.seconds: list[float] = []  # per image
        self.threads_busy: list[float] = []

    def batch_of(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return images if self.side.images is None else images[: self.side.images]

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        batch = self.batch_of(images)
        cpu, start = time.process_time(), time.perf_counter()
        outputs = self.side.answer(batch)
        seconds = time.perf_counter() - start
        self.threads_busy.append((time.process_time() - cpu) / seconds)
        self.seconds.append(seconds / len(batch))
        return outputs


def compare(
    sides: Sequence[Side],
    batches: Sequence[NDArray[np.uint8]],
    manifest: Manifest,
    gflops_per_image: float,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[Row], dict[str, tuple[float, str]]]:
    """Runs every side once a round, in alternation, after one call each to warm up.

    The order is reversed from round to round, so that no side always follows the same other.

    Args:
        sides: The baseline and the others.
        batches: One for each round, images (N, H, W, 3), uint8.
        manifest: Says from where on something counts as present.
        gflops_per_image: What the baseline computes for an image.
        report: Called with a line about what is being measured.

    Returns:
        One row per side, and the peaks by precision.
    """
    measurements, rows = [], {}
    for side in sides:
        report(f"warming up {side.name}")
        measurement = _Measurement(side, manifest)
        try:
            side.answer(measurement.batch_of(batches[0]))
        except Exception as error:  # what a compiler raises shares no base class
            if side.name == BASELINE:
                raise
            rows[side.name] = Row(side.name, side.description, problem=f"{type(error).__name__}: {error}")
        else:
            measurements.append(measurement)
    peaks = Peaks(sides)
    for number, batch in enumerate(batches):
        outputs = {}
        for measurement in measurements if number % 2 == 0 else reversed(measurements):
            report(f"round {number + 1} of {len(batches)}: {measurement.side.name}")
            time.sleep(PAUSE_S)
            outputs[measurement.side.name] = measurement.run(batch)
        time.sleep(PAUSE_S)
        peaks.measure()
        for measurement in measurements:
            actual = outputs[measurement.side.name]
            count = len(measurement.batch_of(batch))
            expected = {name: array[:count] for name, array in outputs[BASELINE].items()}
            measurement.meter.add({name: actual[name] for name in expected if name in actual}, expected)
    baseline = next(m for m in measurements if m.side.name == BASELINE)
    for measurement in measurements:
        rows[measurement.side.name] = _row(measurement, baseline, gflops_per_image, peaks.best, batches[0])
    return [rows[side.name] for side in sides], peaks.best


def _row(
    measurement: _Measurement,
    baseline: _Measurement,
    gflops_per_image: float,
    peaks: dict[str, tuple[float, str]],
    batch: NDArray[np.uint8],
) -> Row:
    side = measurement.side
    seconds = median(measurement.seconds)
    ratios = [ours / theirs for ours, theirs in zip(baseline.seconds, measurement.seconds, strict=True)]
    rate = gflops_per_image / seconds
    return Row(
        side=side.name,
        description=side.description,
        precision=side.precision,
        images_per_call=len(measurement.batch_of(batch)),
        seconds_per_image=seconds,
        ratio=median(ratios),
        threads_busy=median(measurement.threads_busy),
        gflops_per_s=rate,
        peak_fraction=rate / peaks[side.precision][0] if side.precision in peaks else None,
        agreement=measurement.meter.result(),
    )


def not_opened(name: str, problem: str) -> Row:
    """Makes the row of a side that could not be prepared.

    Args:
        name: One of `SIDES`.
        problem: Why.

    Returns:
        The row.
    """
    return Row(name, SIDES[name], problem=problem)
