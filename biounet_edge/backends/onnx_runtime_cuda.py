"""An ONNX Runtime session on an NVIDIA GPU, with memory that stays where it is."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.cuda_buffers import TensorBuffer
from biounet_edge.backends.gpu import cuda_call, cuda_runtime
from biounet_edge.errors import BackendUnavailableError

_KEPT = 3
"""Batch sizes whose memory is kept: one photograph, a full batch and the rest of a folder."""


class CudaRunner:
    """Runs a session through I/O binding.

    `InferenceSession.run` takes new memory for input and outputs at each call and copies them through
    pageable memory, which the driver has to stage. Here each batch size has its buffers on the GPU, bound
    once, and page-locked memory on the host, which the GPU reads and writes itself.
    """

    def __init__(self, session: Any, input_name: str, outputs: list[str]) -> None:
        """Make ready to run; memory is taken when a batch comes.

        Args:
            session: An InferenceSession with the CUDAExecutionProvider.
            input_name: Name of its input, of shape (N, H, W, 3), uint8.
            outputs: Names of its outputs, float32.

        Raises:
            BackendUnavailableError: If cuda-bindings is not installed, or CUDA fails.
        """
        self._cuda = cuda_runtime("cuda")
        self._session, self._input = session, input_name
        shapes = {node.name: tuple(node.shape[1:]) for node in session.get_inputs() + session.get_outputs()}
        self._rows = {name: shapes[name] for name in (input_name, *outputs)}
        self._lock = threading.Lock()
        self._bound: dict[int, _Bound] = {}
        self._stream = cuda_call(self._cuda.cudaStreamCreateWithFlags, self._cuda.cudaStreamNonBlocking)

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Copy images to the GPU, compute, and copy the outputs back; one call at a time.

        Args:
            images: Shape (N, H, W, 3), uint8.

        Returns:
            Output name to array, float32; the arrays are the caller's own.

        Raises:
            BackendUnavailableError: If it is closed, or the GPU fails.
        """
        with self._lock:
            if self._stream is None:
                raise BackendUnavailableError("this ONNX Runtime backend is closed: open another")
            bound, count = self._bind(len(images)), len(images)
            pixels = bound.buffers[self._input]
            np.copyto(pixels.host, images)
            pixels.upload(count, self._stream)
            self._synchronize()  # the session computes in a stream of its own
            self._session.run_with_iobinding(bound.binding)
            bound.binding.synchronize_outputs()
            outputs = {name: buffer for name, buffer in bound.buffers.items() if name != self._input}
            for buffer in outputs.values():
                buffer.download(count, self._stream)
            self._synchronize()
            return {name: buffer.host.copy() for name, buffer in outputs.items()}

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        with self._lock:
            while self._bound:
                self._bound.popitem()[1].free()
            if self._stream is not None:
                cuda_call(self._cuda.cudaStreamDestroy, self._stream)
            self._stream = self._session = None

    def _bind(self, count: int) -> "_Bound":
        """Find the memory of a batch size, or takes it from the size that was not used for longest."""
        bound = self._bound.pop(count, None)
        if bound is None:
            while len(self._bound) >= _KEPT:
                self._bound.pop(next(iter(self._bound))).free()
            bound = _Bound(self._cuda, self._session, self._input, self._rows, count)
        self._bound[count] = bound
        return bound

    def _synchronize(self) -> None:
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)


class _Bound:
    """The memory of one batch size."""

    def __init__(
        self, cuda: Any, session: Any, input_name: str, rows: dict[str, tuple[int, ...]], count: int
    ) -> None:
        self.binding = session.io_binding()
        self.buffers: dict[str, TensorBuffer] = {}
        try:
            for name, row in rows.items():
                is_input = name == input_name
                dtype = np.uint8 if is_input else np.float32
                buffer = self.buffers[name] = TensorBuffer(cuda, row, dtype, count)
                bind = self.binding.bind_input if is_input else self.binding.bind_output
                bind(name, "cuda", 0, dtype, (count, *row), buffer.address)
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        self.binding.clear_binding_inputs()
        self.binding.clear_binding_outputs()
        while self.buffers:
            self.buffers.popitem()[1].free()
