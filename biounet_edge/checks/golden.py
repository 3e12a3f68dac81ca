"""A backend's answers about a bundle's golden images, compared with PyTorch's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends import Backend
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.golden import GoldenOutputs
from biounet_edge.bundle.manifest import FAMILIARITY, Level
from biounet_edge.checks.agreement import GATES, Agreement, AgreementMeter
from biounet_edge.errors import VerificationError

TOLERANCES: dict[str, float] = {
    "melanoma_probability": 1e-4,
    "melanoma_contribution": 1e-3,
    "indicator_probability": 1e-4,
    "heatmap": 5e-3,
    "heatmap_scale": 1e-2,
    "mask_probability": 5e-3,
    FAMILIARITY: 1e-3,
}
"""Largest accepted absolute difference per output (of heatmap_scale and familiarity: relative; of a mask:
mean), in float32.

Float32 kernels sum in an order that depends on the CPU's vector width and thread count, and a GPU may use
other algorithms: about 1e-5 relative over some fifty layers. Probabilities come from a sigmoid (slope at
most 1/4) and stay within 1e-4; contributions are log-odds of magnitude 1 to 10. Heatmaps are divided by
their own maximum, which magnifies rounding where a gradient nearly cancels. Masks are computed from twelve
heatmaps, and a ReLU that switches by rounding, where an activation is nearly zero, moves them: PyTorch's
own float32 is off by up to 0.07 in single pixels at a sharp border, and by up to 5e-4 in the mean over the
pixels of a mask. A wrong operator, weight or channel order differs by 0.1 and more. Shorter formats are
judged by `biounet_edge.checks.agreement.GATES`.
"""


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """One output of one graph compared with its golden values."""

    level: Level
    """Graph that computed it."""
    output: str
    """Name of the output."""
    largest_difference: float | None
    """Largest absolute difference (of heatmap_scale and familiarity: relative to the golden value; of masks:
    mean over the pixels), or None."""
    tolerance: float | None
    """Largest difference that is accepted; None in formats that are judged by their gates alone."""
    problem: str | None
    """What is wrong, or None."""


def check_backend(bundle: Bundle, backend: Backend, level: Level) -> None:
    """Run a golden image and reject a backend that does not compute what PyTorch did.

    Libraries have returned plausible, wrong heatmaps without an error; this is what keeps them from a
    physician. One image is enough where it agrees. Where it does not, all golden images decide together: in a
    short format, the mask of a single image may be small and its IoU an accident.

    Args:
        bundle: The opened bundle.
        backend: The loaded graph.
        level: Its level.

    Raises:
        IntegrityError: If the golden outputs are missing or damaged.
        VerificationError: If an output is further from PyTorch's than its precision allows.
    """
    golden = bundle.golden()
    if not _problems(bundle, backend, level, golden.first(1)):
        return
    if problems := _problems(bundle, backend, level, golden):
        raise VerificationError(
            f"{backend.device} ({backend.description}) does not compute in {backend.precision} what PyTorch "
            f"computed from the golden images of {bundle.manifest.name}, at level {level}: "
            f"{'; '.join(problems)}. Do not use it here: choose another --device or --precision, or "
            "update its library"
        )


def _problems(bundle: Bundle, backend: Backend, level: Level, golden: GoldenOutputs) -> list[str]:
    checks, _, missed = compare(bundle, backend, level, golden)
    return [f"{check.output} {check.problem}" for check in checks if check.problem] + missed


def compare(
    bundle: Bundle, backend: Backend, level: Level, golden: GoldenOutputs
) -> tuple[list[OutputCheck], Agreement | None, list[str]]:
    """Run a backend on golden images.

    Args:
        bundle: The opened bundle.
        backend: The loaded graph.
        level: Its level.
        golden: Inputs and references.

    Returns:
        A check of each output, judged number by number in float32 only; the agreement, None where it cannot
        be computed because an output is missing or of another shape; and the gates that the agreement misses.
    """
    actual = backend.run(golden.image)
    exact = backend.precision == "float32"
    checks = [
        _compare_output(level, name, actual.get(name), golden.outputs.get(name), exact)
        for name in bundle.manifest.levels[level].outputs
    ]
    if any(check.largest_difference is None for check in checks):
        return checks, None, []
    meter = AgreementMeter(bundle.manifest)
    meter.add(actual, golden.outputs)
    agreement = meter.result()
    return checks, agreement, GATES[backend.precision].problems(agreement)


def _compare_output(
    level: Level,
    name: str,
    actual: NDArray[np.float32] | None,
    expected: NDArray[np.float32] | None,
    exact: bool,
) -> OutputCheck:
    tolerance = TOLERANCES.get(name) if exact else None
    if expected is None or name not in TOLERANCES:
        return OutputCheck(level, name, None, tolerance, "has no golden output to compare with")
    if actual is None or actual.shape != expected.shape:
        shape = "missing" if actual is None else f"of shape {actual.shape}"
        return OutputCheck(level, name, None, tolerance, f"is {shape}, expected {expected.shape}")
    difference = np.abs(actual.astype(np.float64) - expected)
    if name == "heatmap_scale":
        difference /= np.maximum(np.abs(expected), 1e-6)
    if name == FAMILIARITY:  # in a unit of the method's own
        difference /= np.maximum(np.abs(expected), 1.0)
    if name == "mask_probability":
        difference = difference.mean(axis=(-2, -1))
    largest = float(difference.max(initial=0.0))
    if not np.isfinite(largest):
        return OutputCheck(level, name, None, tolerance, "has a value that is not a finite number")
    problem = None
    if tolerance is not None and largest > tolerance:
        problem = f"differs by {largest:.2g}, at most {tolerance:.0e} is accepted"
    return OutputCheck(level, name, largest, tolerance, problem)
