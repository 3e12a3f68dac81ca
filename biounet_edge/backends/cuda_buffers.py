"""Memory for the inputs and outputs of a graph on an NVIDIA GPU."""

import ctypes
import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.gpu import cuda_call


class TensorBuffer:
    """One input or output: page-locked memory on the host, which the GPU reads itself, and its twin there."""

    def __init__(self, cuda: ModuleType, row: tuple[int, ...], dtype: Any, rows: int) -> None:
        """Allocate both.

        Args:
            cuda: From `cuda_runtime`.
            row: Shape of one image's part.
            dtype: Number format.
            rows: Images that fit.

        Raises:
            BackendUnavailableError: If the memory is full.
        """
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
        """Queue the copy of the first rows to the GPU.

        Args:
            rows: How many.
            stream: Where to queue it.
        """
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        size = rows * self._row_bytes
        cuda_call(self._cuda.cudaMemcpyAsync, self.address, self._host, size, kind, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Queue the copy of the first rows from the GPU.

        Args:
            rows: How many.
            stream: Where to queue it.
        """
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        size = rows * self._row_bytes
        cuda_call(self._cuda.cudaMemcpyAsync, self._host, self.address, size, kind, stream)

    def free(self) -> None:
        """Give both back; `host` must not be used any more. A second call does nothing."""
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
