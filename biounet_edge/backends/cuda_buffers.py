"""Memory for the inputs and outputs of a graph on an NVIDIA GPU."""

import ctypes
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.gpu import cuda_call

Tensors = Mapping[str, tuple[tuple[int, ...], Any]]
"""Name of an input or output to the shape of one image's part and the number format."""


class BatchBuffers:
    """The input and the outputs of a graph, with room for so many images."""

    def __init__(self, cuda: ModuleType, tensors: Tensors, input_name: str, rows: int) -> None:
        """Allocate all of them.

        Args:
            cuda: From `cuda_runtime`.
            tensors: What the graph takes and returns.
            input_name: Which of them is the input, of shape (N, H, W, 3), uint8.
            rows: Images that fit.

        Raises:
            BackendUnavailableError: If the memory is full; then nothing of it is kept.
        """
        self.rows = rows
        """Images that fit."""
        self._buffers: dict[str, _TensorBuffer] = {}
        try:
            for name, (row, dtype) in tensors.items():
                self._buffers[name] = _TensorBuffer(cuda, row, dtype, rows)
        except BaseException:
            self.free()
            raise
        self._input = self._buffers[input_name]
        self._outputs = {name: buffer for name, buffer in self._buffers.items() if name != input_name}

    @property
    def addresses(self) -> dict[str, int]:
        """Where each input or output is on the GPU, by name."""
        return {name: buffer.address for name, buffer in self._buffers.items()}

    def upload(self, images: NDArray[np.uint8], rows: int, stream: Any) -> None:
        """Queue the copy of a batch to the GPU.

        Args:
            images: Shape (N, H, W, 3), uint8; copied before this returns.
            rows: Size of the batch; where there are fewer images, the last one fills it up.
            stream: Where to queue it.
        """
        self._input.host[: len(images)] = images
        self._input.host[len(images) : rows] = images[-1]
        self._input.upload(rows, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Queue the copy of the outputs of the first images from the GPU.

        Args:
            rows: How many images.
            stream: Where to queue it.
        """
        for buffer in self._outputs.values():
            buffer.download(rows, stream)

    def outputs(self, rows: int) -> dict[str, NDArray[np.float32]]:
        """Copy what was downloaded, once the stream has come so far.

        Args:
            rows: How many images.

        Returns:
            Output name to array with first axis `rows`, float32; the arrays are the caller's own.
        """
        return {name: buffer.host[:rows].astype(np.float32) for name, buffer in self._outputs.items()}

    def free(self) -> None:
        """Give all of them back; a second call does nothing."""
        while self._buffers:
            self._buffers.popitem()[1].free()


class _TensorBuffer:
    """One input or output: page-locked memory on the host, which the GPU reads itself, and its twin there."""

    def __init__(self, cuda: ModuleType, row: tuple[int, ...], dtype: Any, rows: int) -> None:
        self._cuda = cuda
        self._row_bytes = math.prod(row) * np.dtype(dtype).itemsize
        size = rows * self._row_bytes
        self.address = 0
        self._host = int(cuda_call(cuda.cudaHostAlloc, size, 0))
        try:
            self.address = int(cuda_call(cuda.cudaMalloc, size))
        except BaseException:
            self.free()
            raise
        memory = (ctypes.c_uint8 * size).from_address(self._host)
        self.host: NDArray[Any] = np.frombuffer(memory, dtype).reshape(rows, *row)

    def upload(self, rows: int, stream: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        size = rows * self._row_bytes
        cuda_call(self._cuda.cudaMemcpyAsync, self.address, self._host, size, kind, stream)

    def download(self, rows: int, stream: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        size = rows * self._row_bytes
        cuda_call(self._cuda.cudaMemcpyAsync, self._host, self.address, size, kind, stream)

    def free(self) -> None:
        """Give both back; `host` must not be used any more."""
        self.host = np.empty(0)
        if self._host:
            cuda_call(self._cuda.cudaFreeHost, self._host)
        if self.address:
            cuda_call(self._cuda.cudaFree, self.address)
        self._host = self.address = 0


class Scratch:
    """Memory on the GPU for intermediate results, shared by everything that runs one after the other."""

    def __init__(self, cuda: ModuleType) -> None:
        """Start without memory.

        Args:
            cuda: From `cuda_runtime`.
        """
        self._cuda = cuda
        self.address = 0
        self.size = 0

    def grow(self, size: int) -> None:
        """Replace the memory by a larger one; whoever holds the old address must be gone.

        Args:
            size: Bytes.

        Raises:
            BackendUnavailableError: If the GPU's memory is full.
        """
        self.free()
        self.address = int(cuda_call(self._cuda.cudaMalloc, size))
        self.size = size

    def free(self) -> None:
        """Give the memory back; a second call does nothing."""
        if self.address:
            cuda_call(self._cuda.cudaFree, self.address)
        self.address = self.size = 0
