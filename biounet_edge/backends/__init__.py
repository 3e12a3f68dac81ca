"""Backends: what runs a bundle's graph on a device.

The one seam of the runtime: everything before it (decode, resize) and after it (thresholds, sizes, files) is
the same for every backend.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle import Bundle
from biounet_edge.errors import InputError
from biounet_edge.manifest import Level

DEVICES = ("auto", "cpu", "cuda")
"""What may be asked for. "auto" is the CPU, which is always there."""


class Backend(Protocol):
    """One loaded graph on one device. `run` may be called from several threads."""

    @property
    def description(self) -> str:
        """Library, version and device, for people."""

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Computes every output of the graph.

        Args:
            images: RGB pixels at the input size, shape (N, H, W, 3), uint8.

        Returns:
            Output name to array with first axis N, float32.
        """

    def close(self) -> None:
        """Releases the device's memory."""


def open_backend(bundle: Bundle, level: Level, device: str = "auto") -> Backend:
    """Loads a level's graph on a device; never on another one than asked for.

    Args:
        bundle: The opened bundle.
        level: How much is computed.
        device: One of `DEVICES`.

    Returns:
        The loaded backend.

    Raises:
        InputError: If there is no such device or level.
        BackendUnavailableError: If the device or its library is not there.
    """
    if device not in DEVICES:
        raise InputError(f"there is no device {device!r}: choose one of {', '.join(DEVICES)}")
    from biounet_edge.backends.ort import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, level, "cuda" if device == "cuda" else "cpu")
