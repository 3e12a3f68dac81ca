"""How far a build is, and how long it may take.

TensorRT reports phases within phases, each with a number of steps, and steps are no measure of time: TensorRT
for RTX spends nine tenths of a build in a single step. So the share that is done is a share of steps, and
the expected duration does not come from it, but from the last build of the same engine or a measured rule.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS_PER_LAYER = 0.004
"""Of TensorRT for RTX ahead of time, on two cores of a Xeon: 0.002 to 0.007 for graphs of 350 to 8,400
layers, the demo bundle's and full-width ones alike. TensorRT measures kernels on the GPU: it has no rule."""

REPORT_EVERY_S = 0.1
"""Seconds between two steps that are told, of which there are thousands."""


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is."""

    graph: str
    """ONNX file that is compiled."""
    phase: str
    """Innermost phase, in TensorRT's words, which differ between versions."""
    fraction: float
    """Share of the steps that are done, in [0, 1]; never falls."""
    elapsed_s: float
    """Seconds since the build began."""
    expected_s: float | None
    """Seconds that the whole build may take; None where nothing is known."""


class ProgressListener:
    """Follows one build and tells how far it is. Called from any thread of the builder."""

    def __init__(self, graph: str, tell: Callable[[BuildProgress], None] | None) -> None:
        """Start the clock.

        Args:
            graph: ONNX file that is compiled.
            tell: Called at each phase, and about ten times a second; None for silence. What it raises
                ends the build.
        """
        self.expected_s: float | None = None
        self.error: BaseException | None = None
        self._graph, self._called = graph, tell
        self._began = self._told = time.monotonic()
        self._phases: dict[str, _Phase] = {}  # from the outermost to the innermost
        self._fraction = 0.0
        self._lock = threading.RLock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self._began

    def start(self, phase: str, steps: int) -> None:
        """Note that a phase begins, inside the ones that have not ended.

        Args:
            phase: Its name.
            steps: Number of its steps.
        """
        with self._lock:
            self._phases[phase] = _Phase(max(steps, 1))
            self._tell(phase, always=True)

    def step(self, phase: str, number: int) -> bool:
        """Note that a step has ended.

        Args:
            phase: Its phase.
            number: Its index in the phase.

        Returns:
            False to end the build.
        """
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = number + 1
            self._tell(phase, always=False)
            return self.error is None

    def finish(self, phase: str) -> None:
        """Note that a phase has ended.

        Args:
            phase: Its name.
        """
        with self._lock:
            self._phases.pop(phase, None)

    def _tell(self, phase: str, always: bool) -> None:
        inner = 0.0
        for level in reversed(self._phases.values()):
            inner = min((level.done + inner) / level.steps, 1.0)
        self._fraction = max(self._fraction, inner)
        now = time.monotonic()
        if (
            self._called is None
            or self.error is not None
            or not (always or now - self._told > REPORT_EVERY_S)
        ):
            return
        self._told = now
        try:
            self._called(BuildProgress(self._graph, phase, self._fraction, self.elapsed_s, self.expected_s))
        except BaseException as error:  # Ctrl-C too: it must not travel through TensorRT's own frames
            self.error = error


@dataclass(slots=True)
class _Phase:
    steps: int
    done: int = 0


def make_monitor(library: Any, listener: ProgressListener) -> Any:
    """Connect a listener to TensorRT.

    Args:
        library: From `import_tensorrt`.
        listener: What follows the build.

    Returns:
        An IProgressMonitor for the builder's configuration.
    """

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]  # the base comes with the library
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            listener.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return listener.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            listener.finish(phase_name)

    return Monitor()
