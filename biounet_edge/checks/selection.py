"""Opening a backend: the one that was asked for, or the fastest that is there and computes what it should."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from biounet_edge.backends import DEVICES, PRECISIONS, Backend
from biounet_edge.backends.requirements import graph_precision
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.checks.golden import check_backend
from biounet_edge.checks.refusals import Refusals
from biounet_edge.errors import (
    BackendUnavailableError,
    EngineMismatchError,
    InputError,
    VerificationError,
)

FASTEST_FIRST = ("tensorrt", "tensorrt-rtx", "cuda", "openvino", "cpu")
"""Order in which "auto" tries the devices, by the measurements of docs/performance.md. Intel GPUs are used
where they are asked for."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A choice that would have been faster."""

    device: str
    precision: Precision
    error: BackendUnavailableError | EngineMismatchError | VerificationError
    """Why it is not available."""


@dataclass(frozen=True, slots=True)
class Selection:
    """An opened backend and why it was chosen."""

    backend: Backend
    """The loaded, checked graph."""
    passed_over: tuple[PassedOver, ...]
    """What was tried before, fastest first."""

    @property
    def reason(self) -> str:
        """One sentence for people: what was chosen, what is not there, and what was rejected and why."""
        chosen = f"{self.backend.device} in {self.backend.precision} ({self.backend.description})"
        absent = [
            choice.device for choice in self.passed_over if isinstance(choice.error, BackendUnavailableError)
        ]
        parts = [f"not available: {', '.join(dict.fromkeys(absent))}"] if absent else []
        parts += [
            f"{choice.device} in {choice.precision} refused: {choice.error}"
            for choice in self.passed_over
            if not isinstance(choice.error, BackendUnavailableError)
        ]
        return "; ".join([chosen, *parts])


def open_backend(
    bundle: Bundle,
    level: Level,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    *,
    check: bool = True,
) -> Selection:
    """Load a level's graph on a device and compare one golden image with PyTorch's outputs.

    Never on another device, and never in another precision, than asked for; "auto" takes the fastest that is
    installed and passes the check. What failed it is remembered beside the bundle, and passed over until the
    library or the CPU is another.

    Args:
        bundle: The opened bundle.
        level: How much is computed.
        device: One of `DEVICES`.
        precision: Number format to compute in, or "auto".
        check: False leaves the golden image out, to measure what a check would reject.

    Returns:
        The backend, and why it is this one.

    Raises:
        InputError: If there is no such device or level, or the device or bundle has no such precision.
        BackendUnavailableError: If the device or its library is not there.
        EngineMismatchError: If the device's engine was built for something else.
        VerificationError: If it does not compute what PyTorch computed.
    """
    if device not in DEVICES:
        raise InputError(f"there is no device {device!r}: choose one of {', '.join(DEVICES)}")
    bundle.graph(level)  # says which levels there are
    choices = list(_choices(bundle, level, device, precision))
    refusals = Refusals(bundle, level)
    passed_over: list[PassedOver] = []
    for number, (name, fmt) in enumerate(choices, start=1):
        is_last = number == len(choices)  # what nothing can replace is tried in any case
        if not is_last and check and (known := refusals.find(name, fmt)) is not None:
            passed_over.append(PassedOver(name, fmt, known))
            continue
        try:
            return Selection(_open(bundle, level, name, fmt, check), tuple(passed_over))
        except (BackendUnavailableError, EngineMismatchError, VerificationError) as error:
            if is_last:
                raise
            if isinstance(error, VerificationError):
                refusals.add(name, fmt, error)
            passed_over.append(PassedOver(name, fmt, error))
    raise AssertionError("there is at least one choice, which was returned or raised")


def _choices(
    bundle: Bundle, level: Level, device: str, precision: Precision | Literal["auto"]
) -> Iterator[tuple[str, Precision]]:
    """Yield (device, precision), fastest first."""
    graphs = bundle.manifest.levels[level].graphs
    found = False
    for name in FASTEST_FIRST if device == "auto" else (device,):
        for fmt in PRECISIONS[name]:
            if precision in ("auto", fmt) and graph_precision(fmt) in graphs:
                found = True
                yield name, fmt
    if not found:
        formats = PRECISIONS[device] if device != "auto" else ("float32", "float16", "bfloat16", "int8")
        raise InputError(
            f"{precision} was asked for: device {device} computes in {', '.join(formats)}, and the bundle "
            f"{bundle.manifest.name} has level {level} in {', '.join(graphs)}"
        )


def _open(bundle: Bundle, level: Level, device: str, precision: Precision, check: bool) -> Backend:
    backend = _load(bundle, level, device, precision)
    if check:
        try:
            check_backend(bundle, backend, level)
        except BaseException:
            backend.close()
            raise
    return backend


def _load(bundle: Bundle, level: Level, device: str, precision: Precision) -> Backend:
    """Each library is imported where its device is asked for: none of them has to be installed."""
    if device in ("cpu", "cuda"):
        from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(bundle, level, device, precision)
    if device in ("openvino", "openvino-gpu"):
        from biounet_edge.backends.open_vino import OpenVinoBackend

        return OpenVinoBackend(bundle, level, device, precision)
    from biounet_edge.backends.tensor_rt.backend import TensorRtBackend

    return TensorRtBackend(bundle, level, device, precision)
