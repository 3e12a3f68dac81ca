"""Does this machine compute what PyTorch computed when the bundle was exported?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends import Backend, open_backend
from biounet_edge.bundle import Bundle, GoldenOutputs
from biounet_edge.errors import VerificationError
from biounet_edge.manifest import Level

TOLERANCES: Mapping[str, float] = {
    "melanoma_probability": 1e-4,
    "melanoma_contribution": 1e-3,
    "indicator_probability": 1e-4,
    "heatmap": 5e-3,
    "heatmap_scale": 1e-2,
    "mask_probability": 5e-2,
}
"""Largest accepted absolute difference per output (of heatmap_scale: relative), for float32 graphs.

Float32 kernels sum in an order that depends on the CPU's vector width and thread count, and a GPU may use
other algorithms: about 1e-5 relative over some fifty layers. Probabilities lie behind a sigmoid (slope at
most 1/4) and stay within 1e-4; contributions are log-odds of magnitude 1 to 10. Heatmaps are divided by their
own maximum, which magnifies rounding where a gradient nearly cancels. Masks are computed from twelve
heatmaps, and a ReLU that switches by rounding, where an activation is nearly zero, moves them by up to 2e-2:
so did noise of 1e-6 on the pixels in PyTorch itself. A wrong operator, weight or channel order differs by 0.1
and more.
"""


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """One output of one graph compared with its golden values."""

    level: Level
    """Graph that computed it."""
    output: str
    """Name of the output."""
    largest_difference: float | None
    """Largest absolute difference (of heatmap_scale: relative to the golden value), or None."""
    tolerance: float
    """Largest difference that is accepted."""
    problem: str | None
    """What is wrong, or None."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What `verify` found."""

    backend: str
    """Library, version and device."""
    images: int
    """Number of golden images."""
    checks: tuple[OutputCheck, ...]
    """One per output of each level."""

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(check.problem is None for check in self.checks)

    def raise_if_failed(self) -> None:
        """Turns a failure into an exception.

        Raises:
            VerificationError: If an output is not within its tolerance.
        """
        if problems := [f"{c.level}/{c.output}: {c.problem}" for c in self.checks if c.problem]:
            raise VerificationError(
                f"this machine ({self.backend}) does not reproduce the bundle's golden outputs, do not use "
                f"its results: {'; '.join(problems)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Makes the report ready for JSON.

        Returns:
            All fields and `passed`.
        """
        return asdict(self) | {"passed": self.passed}


def verify(bundle: Bundle, device: str = "auto") -> VerificationReport:
    """Runs every level of a bundle on its golden images.

    Args:
        bundle: The opened bundle.
        device: Where, as in `open_backend`.

    Returns:
        The comparison, passed or not.

    Raises:
        IntegrityError: If the golden outputs are missing or damaged.
        BackendUnavailableError: If the device or its library is not there.
    """
    golden = bundle.golden()
    checks: list[OutputCheck] = []
    description = ""
    for level in bundle.manifest.levels:
        backend = open_backend(bundle, level, device)
        description = backend.description
        checks += compare(backend, level, golden)
        backend.close()
    return VerificationReport(description, len(golden.image), tuple(checks))


def compare(backend: Backend, level: Level, golden: GoldenOutputs) -> list[OutputCheck]:
    """Runs one backend on the golden images and compares each of its outputs.

    Args:
        backend: The loaded graph.
        level: Its level, for the report.
        golden: Inputs and references.

    Returns:
        One check per output.
    """
    return [
        _compare_output(level, name, actual, golden.outputs.get(name))
        for name, actual in backend.run(golden.image).items()
    ]


def _compare_output(
    level: Level, name: str, actual: NDArray[np.float32], expected: NDArray[np.float32] | None
) -> OutputCheck:
    tolerance = TOLERANCES.get(name, 0.0)
    if expected is None or name not in TOLERANCES:
        return OutputCheck(level, name, None, tolerance, "there is no golden output to compare with")
    if actual.shape != expected.shape:
        shapes = f"the shape is {actual.shape}, expected {expected.shape}"
        return OutputCheck(level, name, None, tolerance, shapes)
    difference = np.abs(actual.astype(np.float64) - expected)
    if name == "heatmap_scale":
        difference /= np.maximum(np.abs(expected), 1e-6)
    largest = float(difference.max(initial=0.0))
    problem: str | None = None
    if not np.isfinite(largest):
        return OutputCheck(level, name, None, tolerance, "a value is not a finite number")
    if largest > tolerance:
        problem = f"differs by {largest:.2g}, at most {tolerance:.0e} is accepted"
    elif name == "heatmap":
        axes = (-2, -1)
        lost = int(np.sum(expected.any(axis=axes) & ~actual.any(axis=axes)))
        problem = f"{lost} heatmaps are all zero where the golden ones are not" if lost else None
    return OutputCheck(level, name, largest, tolerance, problem)
