"""Does this machine compute what PyTorch computed when the bundle was exported?"""

import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends import Backend
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import InputSpec, Level, Precision
from biounet_edge.checks.agreement import GATES, Agreement, AgreementMeter, Gates
from biounet_edge.checks.golden import OutputCheck, compare
from biounet_edge.checks.selection import open_backend
from biounet_edge.errors import ImageError, VerificationError
from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.version import __version__

_BATCH = 4


@dataclass(frozen=True, slots=True)
class LevelComparison:
    """One level's graph on this machine."""

    level: Level
    against: Literal["golden", "photographs"]
    """What it was compared with: PyTorch's golden outputs, or the float32 graph on the user's photographs."""
    checks: tuple[OutputCheck, ...]
    """Number by number, one per output; empty for photographs."""
    agreement: Agreement | None
    """Decisions, probabilities, heatmaps and masks; None where an output is missing or of another shape."""
    problems: tuple[str, ...]
    """What is not as it must be."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What `verify` found."""

    bundle: str
    """Name and version of the model."""
    bundle_checksum: str
    """SHA-256 of the manifest, which identifies the bundle."""
    device: str
    """The device that ran."""
    precision: Precision
    """Number format that it computed in."""
    backend: str
    """Library, version and device."""
    gates: Gates
    """What the agreement must reach."""
    levels: tuple[LevelComparison, ...]
    """One per level for the golden images, and one for photographs."""
    machine: str
    """Processor and operating system."""
    software: str
    """Version of biounet-edge."""
    time: str
    """When, in UTC, ISO 8601."""

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Everything that is not, with its level in front."""
        return [f"{level.level}: {problem}" for level in self.levels for problem in level.problems]

    def raise_if_failed(self) -> None:
        """Turn a failure into an exception.

        Raises:
            VerificationError: If a gate is missed.
        """
        if self.problems:
            raise VerificationError(
                f"this machine ({self.backend}) does not reproduce {self.bundle} in {self.precision}, do not "
                f"use its results: {'; '.join(self.problems)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Make the certificate ready for JSON.

        Returns:
            All fields and `passed`.
        """
        return {"passed": self.passed} | asdict(self)

    def to_json(self) -> str:
        """Encode the certificate.

        Returns:
            Indented JSON, with a newline at its end.
        """
        return json.dumps(_without_infinity(self.to_dict()), indent=2) + "\n"


def verify(
    bundle: Bundle,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    photographs: Sequence[Path | Frame] = (),
) -> Certificate:
    """Run every level of a bundle on its golden images, and on photographs where there are any.

    Args:
        bundle: The opened bundle.
        device: Where, as in `open_backend`.
        precision: Number format, as in `open_backend`.
        photographs: Image files, or frames of DICOM files, on which the highest level is compared with the
            float32 graph on the CPU.

    Returns:
        The comparison, passed or not.

    Raises:
        IntegrityError: If the golden outputs are missing or damaged.
        BackendUnavailableError: If the device or its library is not there.
        ImageError: If a photograph cannot be read.
    """
    device, precision = _settle(bundle, device, precision)
    levels: list[LevelComparison] = []
    for level in bundle.manifest.levels:
        backend = open_backend(bundle, level, device, precision, check=False).backend
        description = backend.description
        levels.append(_against_golden(bundle, backend, level))
        if photographs and level == list(bundle.manifest.levels)[-1]:
            levels.append(_against_float32(bundle, backend, level, photographs))
        backend.close()
    return Certificate(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        bundle_checksum=bundle.checksum,
        device=device,
        precision=precision,
        backend=description,
        gates=GATES[precision],
        levels=tuple(levels),
        machine=f"{platform.processor() or platform.machine()}, {platform.platform()}",
        software=f"biounet-edge {__version__}",
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _settle(bundle: Bundle, device: str, precision: Precision | Literal["auto"]) -> tuple[str, Precision]:
    """Make one choice for all levels: what a user would get, or the first if all are rejected."""
    if device != "auto" and precision != "auto":
        return device, precision
    highest = list(bundle.manifest.levels)[-1]
    try:
        chosen = open_backend(bundle, highest, device, precision).backend
    except VerificationError:  # that is what the certificate is about
        chosen = open_backend(bundle, highest, device, precision, check=False).backend
    chosen.close()
    return chosen.device, chosen.precision


def _against_golden(bundle: Bundle, backend: Backend, level: Level) -> LevelComparison:
    checks, agreement, missed = compare(bundle, backend, level, bundle.golden())
    problems = [f"{check.output} {check.problem}" for check in checks if check.problem] + missed
    return LevelComparison(level, "golden", tuple(checks), agreement, tuple(problems))


def _against_float32(
    bundle: Bundle, backend: Backend, level: Level, photographs: Sequence[Path | Frame]
) -> LevelComparison:
    """Compare with ONNX Runtime's float32, whose agreement with PyTorch the golden images show."""
    reference = open_backend(bundle, level, "cpu", "float32").backend
    meter = AgreementMeter(bundle.manifest)
    for images in _batches(bundle, photographs):
        meter.add(backend.run(images), reference.run(images))
    reference.close()
    agreement = meter.result()
    problems = GATES[backend.precision].problems(agreement)
    return LevelComparison(level, "photographs", (), agreement, tuple(problems))


def _batches(bundle: Bundle, photographs: Iterable[Path | Frame]) -> Iterator[NDArray[np.uint8]]:
    """Yield images at the input size, shape (N, H, W, 3)."""
    spec, paths = bundle.manifest.input, iter(photographs)
    while batch := list(islice(paths, _BATCH)):
        yield np.stack([_read(path, spec) for path in batch])


def _read(photograph: Path | Frame, spec: InputSpec) -> NDArray[np.uint8]:
    try:
        return read_input(photograph, spec.height, spec.width)
    except ImageError as error:
        raise ImageError(f"{photograph}: {error}") from error


def _without_infinity(value: Any) -> Any:
    """Replace numbers that are infinite, or none at all, by null: JSON has no word for these."""
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
