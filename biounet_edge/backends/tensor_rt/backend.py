"""TensorRT and TensorRT for RTX, with the engines that `biounet-edge build` made."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.base import BaseBackend, Outputs
from biounet_edge.backends.cuda_buffers import BatchBuffers, Tensors
from biounet_edge.backends.gpu import cuda_call, cuda_runtime, present_gpu
from biounet_edge.backends.requirements import require_precision
from biounet_edge.backends.tensor_rt.contexts import Contexts, RtxRuntime
from biounet_edge.backends.tensor_rt.engine_files import read_engine
from biounet_edge.backends.tensor_rt.library import import_tensorrt, make_log, reason
from biounet_edge.backends.tensor_rt.sidecar import build_command, engine_path
from biounet_edge.bundle.folder import COMPILED_NAME, Bundle
from biounet_edge.bundle.manifest import Level
from biounet_edge.bundle.signature import check_signature
from biounet_edge.errors import BackendUnavailableError


class TensorRtBackend(BaseBackend):
    """A level's engine on the first GPU that CUDA shows.

    Batches larger than the engine's largest are split and smaller ones than its smallest are filled up. The
    memory grows with the batches that come, up to what the profile allows.
    """

    library_name = "TensorRT"

    def _load(self, level: Level) -> str:
        bundle, device, precision = self._bundle, self.device, self.precision
        library = import_tensorrt(device)
        graph_precision = require_precision(device, precision)
        gpu = present_gpu(device)
        sidecar, content = read_engine(bundle, level, device, graph_precision, library.__version__, gpu)
        self._input, self._batches = bundle.manifest.input.name, sidecar.batch_profile
        self._cuda = cuda_runtime(device)
        self._lock = threading.Lock()
        self._log = make_log(library)
        self._buffers: BatchBuffers | None = None
        self._stream: Any = None
        self._engine: Any = None
        self._contexts: Contexts | None = None
        self._rtx: RtxRuntime | None = None
        try:
            self._stream = cuda_call(self._cuda.cudaStreamCreateWithFlags, self._cuda.cudaStreamNonBlocking)
            self._runtime = library.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                command = build_command(bundle, level, device, precision, self._batches)
                raise BackendUnavailableError(
                    f"{library.__name__} {library.__version__} cannot load the engine of level {level}: "
                    f"{reason(self._log)}. Building it again may help: {command}"
                )
            self._tensors = _read_signature(library, self._engine, bundle, level)
            path = engine_path(bundle.folder / COMPILED_NAME, sidecar.graph, device).with_suffix(".cache")
            self._contexts = self._make_contexts(library, path)
        except BaseException:
            self._release()
            raise
        sizes = " to ".join(map(str, dict.fromkeys((self._batches.min, self._batches.max))))
        return f"{library.__name__} {library.__version__}, {gpu.name}, batches of {sizes}"

    @property
    def description(self) -> str:
        """Library, version, GPU, batch sizes, and whether CUDA graphs are used."""
        if self._rtx is not None:
            return f"{self._title}, CUDA graphs by the library"
        problem = self._contexts.problem if self._contexts else None
        if problem is not None:
            return f"{self._title}, without CUDA graphs ({problem})"
        sizes = ", ".join(map(str, sorted(set(self._batches))))
        return f"{self._title}, CUDA graphs for batches of {sizes}"

    def _compute(self, images: NDArray[np.uint8]) -> Outputs:
        contexts = self._contexts
        assert contexts is not None, "only a loaded backend computes"
        largest = self._batches.max
        with self._lock:
            parts = [
                self._run(contexts, images[start : start + largest])
                for start in range(0, len(images), largest)
            ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _release(self) -> None:
        if self._rtx is not None:
            self._rtx.save()
        if self._contexts is not None:
            self._contexts.close()
        self._free_buffers()
        self._contexts = self._rtx = self._engine = self._runtime = None
        if self._stream is not None:
            cuda_call(self._cuda.cudaStreamDestroy, self._stream)
            self._stream = None

    def _make_contexts(self, library: Any, cache: Any) -> Contexts:
        if self.device == "tensorrt-rtx":
            self._rtx = RtxRuntime(library, self._engine, cache)
            return Contexts(self._cuda, self._stream, self._rtx.create, frozenset())
        strategy, engine = library.ExecutionContextAllocationStrategy.USER_MANAGED, self._engine
        return Contexts(
            self._cuda,
            self._stream,
            lambda: engine.create_execution_context(strategy),
            frozenset(self._batches),
        )

    def _run(self, contexts: Contexts, images: NDArray[np.uint8]) -> Outputs:
        """Compute one batch of the profile."""
        count = len(images)
        rows = max(count, self._batches.min)
        buffers = self._reserve(contexts, rows)
        buffers.upload(images, rows, self._stream)
        contexts.enqueue(rows, buffers.addresses, {self._input: self._tensors[self._input][0]})
        buffers.download(count, self._stream)
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)
        contexts.record(rows)
        return buffers.outputs(count)

    def _reserve(self, contexts: Contexts, rows: int) -> BatchBuffers:
        """Make room for a batch, in the steps of the profile."""
        if self._buffers is None or self._buffers.rows < rows:
            contexts.drop()
            self._free_buffers()
            capacity = min(size for size in self._batches if size >= rows)
            self._buffers = BatchBuffers(self._cuda, self._tensors, self._input, capacity)
        return self._buffers

    def _free_buffers(self) -> None:
        if self._buffers is not None:
            self._buffers.free()
            self._buffers = None


def _read_signature(library: Any, engine: Any, bundle: Bundle, level: Level) -> Tensors:
    """Compare an engine with its manifest, so that a wrong pair fails here and not in the results."""
    tensors: dict[str, tuple[tuple[int, ...], Any]] = {}
    inputs, outputs = [], []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        row, dtype = tuple(engine.get_tensor_shape(name))[1:], library.nptype(engine.get_tensor_dtype(name))
        tensors[name] = (row, dtype)
        if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT:
            inputs.append((name, np.dtype(dtype).name, row))
        else:
            outputs.append(name)
    check_signature(bundle, level, f"the engine of level {level}", inputs, outputs)
    return tensors
