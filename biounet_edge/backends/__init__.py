"""Backends: what runs a bundle's graph on a device.

The one seam of the runtime: everything before it (decode, resize) and after it (thresholds, sizes, files) is
the same for every backend.

    cpu            onnx_runtime.py   any CPU                                float32, int8
    cuda           onnx_runtime.py   NVIDIA GPUs                            float16, float32
    openvino       open_vino.py      Intel and other CPUs                   int8, bfloat16, float32
    openvino-gpu   open_vino.py      Intel GPUs                             float16, float32
    tensorrt       tensor_rt/        NVIDIA GPUs, with engines built there  float16, float32
    tensorrt-rtx   tensor_rt/        RTX workstations, with engines         float16, float32

base.py has what they all do around their library, and cuda_buffers.py the memory of those that drive CUDA.
`biounet_edge.checks.selection` opens one of them, checks it against the bundle's golden outputs, and chooses
for "auto". No module is named like the package that it drives, or it could shadow it.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import Precision

DEVICES = ("auto", "cpu", "cuda", "openvino", "openvino-gpu", "tensorrt", "tensorrt-rtx")
"""What may be asked for. "auto" is the fastest of the others that is there and computes what it should."""

PRECISIONS: Mapping[str, tuple[Precision, ...]] = {
    "cpu": ("float32", "int8"),
    "cuda": ("float16", "float32"),
    "openvino": ("int8", "bfloat16", "float32"),
    "openvino-gpu": ("float16", "float32"),
    "tensorrt": ("float16", "float32"),
    "tensorrt-rtx": ("float16", "float32"),
}
"""What each device computes in, the one that "auto" prefers first."""


class Backend(Protocol):
    """One loaded graph on one device. `run` may be called from several threads."""

    @property
    def description(self) -> str:
        """Library, version and device, for people."""

    @property
    def device(self) -> str:
        """The device, one of `DEVICES` without "auto"."""

    @property
    def precision(self) -> Precision:
        """Number format that it computes in."""

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute every output of the graph.

        Args:
            images: RGB pixels at the input size, shape (N, H, W, 3), uint8.

        Returns:
            Output name to array with first axis N, float32; the arrays are the caller's own.
        """

    def close(self) -> None:
        """Release the device's memory; a second call does nothing."""
