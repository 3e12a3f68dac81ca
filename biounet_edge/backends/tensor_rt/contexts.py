"""Execution contexts of a TensorRT engine, and the CUDA graphs recorded from them.

A CUDA graph fixes the batch size, the addresses and the context that it was recorded from, which must not be
changed afterwards. So each batch size of the engine's profile has a context and a graph of its own, and one
more context, without a graph, takes all other sizes. They run one after the other and share their memory.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from biounet_edge.backends.cuda_buffers import Scratch
from biounet_edge.backends.gpu import cuda_call, cuda_result
from biounet_edge.backends.tensor_rt.engine_files import write_compiled
from biounet_edge.errors import BackendUnavailableError, OutputError


class Contexts:
    """Runs batches of an engine on one stream. Not for several threads at once."""

    def __init__(
        self, cuda: ModuleType, stream: Any, create: Callable[[], Any], recorded: frozenset[int]
    ) -> None:
        """Make no context yet.

        Args:
            cuda: From `cuda_runtime`.
            stream: Where everything is queued.
            create: Makes an execution context that has no memory of its own.
            recorded: Batch sizes to record a CUDA graph of; none where the library does so itself.
        """
        self.problem: str | None = None
        """Why no CUDA graph can be recorded, after that was tried."""
        self._cuda, self._stream, self._create, self._recorded = cuda, stream, create, recorded
        self._scratch = Scratch(cuda)
        self._prepared: dict[int, _Prepared] = {}  # by batch size; 0 holds the sizes that are not recorded

    def enqueue(
        self, rows: int, addresses: Mapping[str, int], input_rows: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Queue one batch.

        Args:
            rows: Its size, within the profile.
            addresses: Where every input and output is on the GPU; changed only after `drop`.
            input_rows: Of each input, the shape of one image's part.

        Raises:
            BackendUnavailableError: If TensorRT or CUDA refuses, as where the GPU's memory is full.
        """
        prepared = self._prepare(rows, addresses, input_rows)
        if prepared.graph is not None:
            cuda_call(self._cuda.cudaGraphLaunch, prepared.graph, self._stream)
        else:
            _require(prepared.context.execute_async_v3(int(self._stream)), f"run a batch of {rows}")

    def record(self, rows: int) -> None:
        """Record the CUDA graph of a batch size that has run once; where that fails, it runs without one.

        Args:
            rows: The batch size; nothing happens for one that is not recorded, or is already.
        """
        prepared = self._prepared[rows if rows in self._recorded else 0]
        if rows not in self._recorded or prepared.graph is not None or self.problem is not None:
            return
        try:
            prepared.graph = self._record(prepared.context)
        except BackendUnavailableError as error:
            self.problem = str(error)
            self._cuda.cudaGetLastError()  # CUDA would report it again at the next call

    def drop(self) -> None:
        """Destroy the contexts and graphs, before what they were bound to goes."""
        while self._prepared:
            _, prepared = self._prepared.popitem()
            if prepared.graph is not None:
                cuda_call(self._cuda.cudaGraphExecDestroy, prepared.graph)

    def close(self) -> None:
        """Destroy everything; a second call does nothing."""
        self.drop()
        self._scratch.free()

    def _prepare(
        self, rows: int, addresses: Mapping[str, int], input_rows: Mapping[str, tuple[int, ...]]
    ) -> "_Prepared":
        key = rows if rows in self._recorded else 0
        if key not in self._prepared:
            context = self._create()
            _require(context, "make an execution context")
            # Only the first context has the profile by default.
            _require(context.set_optimization_profile_async(0, int(self._stream)), "select the batch profile")
            cuda_call(self._cuda.cudaStreamSynchronize, self._stream)
            for name, address in addresses.items():
                _require(context.set_tensor_address(name, address), f"bind {name}")
            self._prepared[key] = _Prepared(context)
        prepared = self._prepared[key]
        if prepared.rows != rows:
            for name, row in input_rows.items():
                _require(prepared.context.set_input_shape(name, (rows, *row)), f"take a batch of {rows}")
            size = max(1, prepared.context.update_device_memory_size_for_shapes())
            if size > self._scratch.size:
                del prepared
                self.drop()  # all hold the old address
                self._scratch.grow(size)
                return self._prepare(rows, addresses, input_rows)
            prepared.context.set_device_memory(self._scratch.address, self._scratch.size)
            prepared.rows = rows
        return prepared

    def _record(self, context: Any) -> Any:
        """Capture what the context queues; other threads may go on using CUDA meanwhile."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda_call(self._cuda.cudaStreamBeginCapture, self._stream, mode)
        try:
            _require(context.execute_async_v3(int(self._stream)), "be captured")
        finally:
            ended = self._cuda.cudaStreamEndCapture(self._stream)  # whatever happened: it ends the capture
        graph = cuda_result("cudaStreamEndCapture", ended)
        try:
            return cuda_call(self._cuda.cudaGraphInstantiate, graph, 0)
        finally:
            cuda_call(self._cuda.cudaGraphDestroy, graph)


@dataclass(slots=True)
class _Prepared:
    context: Any
    rows: int = 0
    graph: Any = None


def _require(done: object, what: str) -> None:
    if not done:
        raise BackendUnavailableError(f"TensorRT cannot {what} on this GPU")


class RtxRuntime:
    """How TensorRT for RTX runs an engine: it compiles kernels on loading, and records CUDA graphs itself."""

    def __init__(self, library: Any, engine: Any, path: Path) -> None:
        """Configure the engine and read the kernels of earlier runs.

        Args:
            library: From `import_tensorrt`.
            engine: The loaded engine; CUDA must be in use already.
            path: File of compiled kernels; those of another driver or GPU are not used.
        """
        self._engine, self._path = engine, path
        self._config = engine.create_runtime_config()
        strategy = library.ExecutionContextAllocationStrategy.USER_MANAGED
        self._config.set_execution_context_allocation_strategy(strategy)
        self._config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache = self._config.create_runtime_cache()
        self._known = path.read_bytes() if path.is_file() else b""
        if self._known:
            self._cache.deserialize(self._known)  # it stays empty where they are of another driver or GPU
        self._config.set_runtime_cache(self._cache)

    def create(self) -> Any:
        """Make an execution context.

        Returns:
            One that has no memory of its own.
        """
        return self._engine.create_execution_context(self._config)

    def save(self) -> None:
        """Keep the compiled kernels for the next run, where the bundle's folder can be written."""
        content = bytes(self._cache.serialize())
        if content != self._known:
            with suppress(OutputError):  # the next run compiles them again, which is all that is lost
                write_compiled(self._path, content)
