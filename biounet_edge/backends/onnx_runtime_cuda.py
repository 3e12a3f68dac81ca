"""An ONNX Runtime session on an NVIDIA GPU, with memory that stays where it is."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.base import Outputs
from biounet_edge.backends.cuda_buffers import BatchBuffers, Tensors
from biounet_edge.backends.gpu import cuda_call, cuda_runtime

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
        rows = {node.name: tuple(node.shape[1:]) for node in session.get_inputs() + session.get_outputs()}
        self._tensors: Tensors = {
            name: (rows[name], np.uint8 if name == input_name else np.float32)
            for name in (input_name, *outputs)
        }
        self._lock = threading.Lock()
        self._bound: dict[int, _Bound] = {}
        self._stream = cuda_call(self._cuda.cudaStreamCreateWithFlags, self._cuda.cudaStreamNonBlocking)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Copy images to the GPU, compute, and copy the outputs back; one batch at a time."""
        count = len(images)
        with self._lock:
            bound = self._bind(count)
            bound.buffers.upload(images, count, self._stream)
            self._synchronize()  # the session computes in a stream of its own
            self._session.run_with_iobinding(bound.binding)
            bound.binding.synchronize_outputs()
            bound.buffers.download(count, self._stream)
            self._synchronize()
            return bound.buffers.outputs(count)

    def close(self) -> None:
        """Give the memory back, when nothing runs any more; a second call does nothing."""
        while self._bound:
            self._bound.popitem()[1].free()
        if self._stream is not None:
            cuda_call(self._cuda.cudaStreamDestroy, self._stream)
        self._stream = self._session = None

    def _bind(self, count: int) -> "_Bound":
        """Find the memory of a batch size, or take it from the size that was not used for longest."""
        bound = self._bound.pop(count, None)
        if bound is None:
            while len(self._bound) >= _KEPT:
                self._bound.pop(next(iter(self._bound))).free()
            bound = _Bound(self._cuda, self._session, self._tensors, self._input, count)
        self._bound[count] = bound
        return bound

    def _synchronize(self) -> None:
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)


class _Bound:
    """The memory of one batch size, bound to the session."""

    def __init__(self, cuda: Any, session: Any, tensors: Tensors, input_name: str, count: int) -> None:
        self.binding = session.io_binding()
        self.buffers = BatchBuffers(cuda, tensors, input_name, count)
        try:
            for name, address in self.buffers.addresses.items():
                bind = self.binding.bind_input if name == input_name else self.binding.bind_output
                row, dtype = tensors[name]
                bind(name, "cuda", 0, dtype, (count, *row), address)
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        self.binding.clear_binding_inputs()
        self.binding.clear_binding_outputs()
        self.buffers.free()
