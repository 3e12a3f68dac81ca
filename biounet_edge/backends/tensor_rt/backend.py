"""TensorRT and TensorRT for RTX, with the engines that `biounet-edge build` made."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.cuda_buffers import TensorBuffer
from biounet_edge.backends.gpu import cuda_call, cuda_runtime, present_gpu
from biounet_edge.backends.requirements import require_precision
from biounet_edge.backends.tensor_rt.contexts import Binding, Contexts, RtxRuntime
from biounet_edge.backends.tensor_rt.engine_files import read_engine
from biounet_edge.backends.tensor_rt.library import import_tensorrt, make_log, reason
from biounet_edge.backends.tensor_rt.sidecar import build_command, engine_path
from biounet_edge.bundle.folder import COMPILED_NAME, Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.bundle.signature import check_images, check_signature
from biounet_edge.errors import BackendUnavailableError


class TensorRtBackend:
    """A level's engine on the first GPU that CUDA shows.

    Batches larger than the engine's largest are split and smaller ones than its smallest are filled up. The
    memory grows with the batches that come, up to what the profile allows.
    """

    def __init__(self, bundle: Bundle, level: Level, device: str, precision: Precision) -> None:
        """Check the engine that was built for the level, and load it.

        Args:
            bundle: The opened bundle.
            level: How much is computed.
            device: "tensorrt" or "tensorrt-rtx".
            precision: "float16" or "float32".

        Raises:
            InputError: If there is no such level, device or precision.
            BackendUnavailableError: If the library, the GPU or the engine is not there.
            EngineMismatchError: If the engine was built for something else, or is damaged.
            ManifestError: If its input or outputs are not those of the manifest.
        """
        library = import_tensorrt(device)
        graph_precision = require_precision(device, precision)
        self.device, self.precision = device, precision
        gpu = present_gpu(device)
        sidecar, content = read_engine(bundle, level, device, graph_precision, library.__version__, gpu)
        self._bundle, self._batches = bundle, sidecar.batch_profile
        self._cuda = cuda_runtime(device)
        self._lock = threading.Lock()
        self._log = make_log(library)
        self._buffers: dict[str, TensorBuffer] = {}
        self._capacity = 0
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
            self.close()
            raise
        self._input = bundle.manifest.input.name
        self._title = f"{library.__name__} {library.__version__}, {gpu.name}, batches of {self._batches.min}"
        self._title += f" to {self._batches.max}" if self._batches.max > self._batches.min else ""

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

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute every output of the graph.

        Args:
            images: RGB pixels at the input size, shape (N, H, W, 3), uint8.

        Returns:
            Output name to array with first axis N, float32; the arrays are the caller's own.

        Raises:
            InputError: If the images have another shape or type.
            BackendUnavailableError: If the backend is closed, or the GPU fails, as where its memory is full.
        """
        check_images(self._bundle, images)
        with self._lock:
            if self._contexts is None:
                raise BackendUnavailableError("this TensorRT backend is closed: open another")
            parts = [self._run(self._contexts, part) for part in self._split(images)]
        if len(parts) == 1:
            return parts[0]
        return {
            name: np.concatenate([part[name] for part in parts])
            for name in self._tensors
            if name != self._input
        }

    def close(self) -> None:
        """Release the engine and its memory; a second call does nothing."""
        with self._lock:
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

    def _split(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(images), self._batches.max):
            yield images[start : start + self._batches.max]

    def _run(self, contexts: Contexts, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute one batch of the profile."""
        count = len(images)
        rows = max(count, self._batches.min)
        self._reserve(contexts, rows)
        pixels = self._buffers[self._input]
        pixels.host[:count] = images
        pixels.host[count:rows] = images[-1]  # any image will do where the batch is filled up
        pixels.upload(rows, self._stream)
        bindings = {
            name: Binding(buffer.address, self._tensors[name][0] if name == self._input else None)
            for name, buffer in self._buffers.items()
        }
        contexts.enqueue(rows, bindings)
        outputs = {name: buffer for name, buffer in self._buffers.items() if name != self._input}
        for buffer in outputs.values():
            buffer.download(count, self._stream)
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)
        contexts.record(rows)
        return {name: buffer.host[:count].astype(np.float32) for name, buffer in outputs.items()}

    def _reserve(self, contexts: Contexts, rows: int) -> None:
        """Make room for a batch, in the steps of the profile."""
        if rows <= self._capacity:
            return
        contexts.drop()
        self._free_buffers()
        capacity = min(size for size in self._batches if size >= rows)
        for name, (row, dtype) in self._tensors.items():
            self._buffers[name] = TensorBuffer(self._cuda, row, dtype, capacity)
        self._capacity = capacity

    def _free_buffers(self) -> None:
        self._capacity = 0
        while self._buffers:
            self._buffers.popitem()[1].free()


_Tensors = dict[str, tuple[tuple[int, ...], Any]]  # name: shape of one image's part, NumPy type


def _read_signature(library: Any, engine: Any, bundle: Bundle, level: Level) -> _Tensors:
    """Compare an engine with its manifest, so that a wrong pair fails here and not in the results."""
    tensors: _Tensors = {}
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
