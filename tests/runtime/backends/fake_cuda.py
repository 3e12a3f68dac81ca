"""A CUDA runtime whose GPU is not there: its memory is host memory, and it knows what may be freed when.

It insists on what CUDA documents: room at both ends of a copy, page-locked memory on the host, and no memory
that is freed while an execution context or a CUDA graph holds its address.
"""

import ctypes
import enum
import types
import weakref

Code = enum.IntEnum("Code", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorStreamCapture": 900})
OK = Code.cudaSuccess


class FakeCuda(types.ModuleType):
    """The functions of `cuda.bindings.runtime` that the backends call."""

    cudaMemcpyKind = enum.IntEnum("Kind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})  # noqa: N815
    cudaStreamCaptureMode = enum.IntEnum("Mode", {"cudaStreamCaptureModeThreadLocal": 1})  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, ctypes.Array] = {}
        self.page_locked: set[int] = set()
        self.allocations_left = 1000
        self.full: str | None = None  # the function that fails for want of memory
        self.free_bytes = 1_000_000  # what is left then
        self.contexts: weakref.WeakSet = weakref.WeakSet()  # each names the addresses that it holds
        self.streams: set[int] = set()
        self.queued = 0  # copies since a stream was waited for
        self.can_capture = True
        self.captures = self.launches = 0
        self.captured: list | None = None
        self.graphs: list[object] = []

    def _allocate(self, name, size):
        if self.allocations_left == 0 or (name == self.full and size > self.free_bytes):
            return Code.cudaErrorMemoryAllocation, None
        self.allocations_left -= 1
        memory = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(memory)] = memory
        return OK, ctypes.addressof(memory)

    def cudaMalloc(self, size):  # noqa: N802
        return self._allocate("cudaMalloc", size)

    def cudaHostAlloc(self, size, flags):  # noqa: N802
        code, address = self._allocate("cudaHostAlloc", size)
        if address is not None:
            self.page_locked.add(address)
        return code, address

    def cudaFree(self, address):  # noqa: N802
        assert not any(address in context.held() for context in self.contexts), "memory is still in use"
        del self.memory[address]
        return (OK,)

    def cudaFreeHost(self, address):  # noqa: N802
        self.page_locked.remove(address)
        return self.cudaFree(address)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        assert int(stream) in self.streams
        host = source if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else target
        assert host in self.page_locked, "a pageable copy"
        assert min(len(self.memory[target]), len(self.memory[source])) >= size
        ctypes.memmove(target, source, size)
        self.queued += 1
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags):  # noqa: N802
        stream = max(self.streams, default=6) + 1
        self.streams.add(stream)
        return OK, stream

    def cudaStreamDestroy(self, stream):  # noqa: N802
        self.streams.remove(stream)
        return (OK,)

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        assert self.captured is None, "a stream that is captured must not be waited for"
        self.queued = 0
        return (OK,)

    def cudaStreamBeginCapture(self, stream, mode):  # noqa: N802
        self.captured = []
        self.captures += 1
        return (OK,)

    def cudaStreamEndCapture(self, stream):  # noqa: N802
        captured, self.captured = self.captured, None
        return (OK, captured) if self.can_capture else (Code.cudaErrorStreamCapture, None)

    def cudaGraphInstantiate(self, graph, flags):  # noqa: N802
        self.graphs.append(list(graph))
        return OK, self.graphs[-1]

    def cudaGraphDestroy(self, graph):  # noqa: N802
        return (OK,)

    def cudaGraphExecDestroy(self, graph):  # noqa: N802
        self.graphs.remove(graph)
        return (OK,)

    def cudaGraphLaunch(self, graph, stream):  # noqa: N802
        self.launches += 1
        for work in graph:
            work()
        return (OK,)

    def cudaGetLastError(self):  # noqa: N802
        return (OK,)
