"""A GPU that is not there: memory, streams and CUDA graphs are modelled, and kernels are NumPy.

What the models insist on is what TensorRT and CUDA document: the order of calls, room in every buffer, one
thread on a stream, and no memory that is freed while a context or graph holds its address.
"""

import ctypes
import enum
import hashlib
import sys
import time
import types
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from biounet_edge import Bundle
from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.backend import TensorRtBackend
from biounet_edge.backends.tensor_rt.engine_files import write_engine
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile, Sidecar, engine_path, this_platform
from biounet_edge.bundle.folder import COMPILED_NAME as FOLDER

L4 = Gpu("NVIDIA L4", "8.9", "13.0")
ENGINE = b"an engine"  # its content
Code = enum.IntEnum("Code", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorStreamCapture": 900})
OK = Code.cudaSuccess


class FakeCuda(types.ModuleType):
    """A GPU whose memory is host memory, and which knows what may be freed when."""

    cudaMemcpyKind = enum.IntEnum("Kind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})  # noqa: N815
    cudaStreamCaptureMode = enum.IntEnum("Mode", {"cudaStreamCaptureModeThreadLocal": 1})  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, ctypes.Array] = {}
        self.full: str | None = None  # what fails for want of memory
        self.free_bytes = 1_000_000  # what is left then
        self.can_capture = True
        self.captures = 0
        self.contexts: weakref.WeakSet = weakref.WeakSet()
        self.streams: set[int] = set()
        self.graphs: list[object] = []
        self.captured: list | None = None
        self.launches = self.uploads = 0
        for name in ("cudaMalloc", "cudaHostAlloc"):
            setattr(self, name, self._named(name, partial(self._allocate, name)))
        for name in ("cudaFree", "cudaFreeHost"):
            setattr(self, name, self._named(name, self._release))

    @staticmethod
    def _named(name, function):
        def named(*arguments):
            return function(*arguments)

        named.__name__ = name
        return named

    def _allocate(self, name, size, flags=0):
        if name == self.full and size > self.free_bytes:
            return Code.cudaErrorMemoryAllocation, None
        memory = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(memory)] = memory
        return OK, ctypes.addressof(memory)

    def _release(self, address):
        assert not any(address in context.held() for context in self.contexts), "memory is still in use"
        del self.memory[address]
        return (OK,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        assert int(stream) in self.streams
        ctypes.memmove(target, source, size)
        self.uploads += kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags):  # noqa: N802
        self.streams.add(7)
        return OK, 7

    def cudaStreamDestroy(self, stream):  # noqa: N802
        self.streams.remove(stream)
        return (OK,)

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        assert self.captured is None, "a stream that is captured must not be waited for"
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


def compute(images: np.ndarray) -> dict[str, np.ndarray]:
    """What the fake kernels compute, shape (N) and (N, 5) twice."""
    brightness = images.mean(axis=tuple(range(1, images.ndim)), dtype=np.float32) / 255
    columns = brightness[:, np.newaxis] * np.arange(1, 6, dtype=np.float32)
    return {
        "melanoma_probability": brightness,
        "melanoma_contribution": columns,
        "indicator_probability": 1 - columns / 10,
    }


class FakeContext:
    """Runs level classify, and insists on the order of calls that TensorRT documents."""

    def __init__(self, library: "FakeTensorRt") -> None:
        self.library, self.addresses, self.rows, self.scratch = library, {}, 0, (0, 0)
        self.profile: int | None = None
        library.cuda.contexts.add(self)

    def held(self):
        return {*self.addresses.values(), self.scratch[0]}

    def set_optimization_profile_async(self, index, stream):
        self.profile = index
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def set_input_shape(self, name, shape):
        assert self.profile == 0, "the profile comes before the shapes"
        self.rows = shape[0]
        return self.library.batches.min <= self.rows <= self.library.batches.max

    def update_device_memory_size_for_shapes(self):
        return self.rows * 1000

    def set_device_memory(self, address, size):
        assert len(self.library.cuda.memory[address]) == size >= self.rows * 1000
        self.scratch = (address, size)

    def execute_async_v3(self, stream):
        library, cuda = self.library, self.library.cuda
        assert stream in cuda.streams
        assert self.scratch[1] >= self.rows * 1000
        if library.executes and cuda.captured is None:
            library.batches_run.append(self.rows)
            self.work()
        elif library.executes:
            cuda.captured.append(self.work)
        return library.executes

    def work(self):
        assert not self.library.busy, "two threads are on one stream"
        self.library.busy = True
        time.sleep(0.001)
        size = (self.rows, *self.library.input_row)
        outputs = compute(self.view("image", size, np.uint8))
        for name, array in outputs.items():
            self.view(name, array.shape, np.float32)[...] = array
        self.library.busy = False

    def view(self, name, shape, dtype):
        address, size = self.addresses[name], int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert len(self.library.cuda.memory[address]) >= size
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class FakeTensorRt(types.ModuleType):
    """TensorRT, or TensorRT for RTX, that loads one engine."""

    def __init__(self, name: str, version: str, cuda: FakeCuda, size: int, batches: BatchProfile) -> None:
        super().__init__(name)
        self.__version__, self.cuda, self.batches = version, cuda, batches
        self.input_row: tuple[int, ...] = (size, size, 3)
        self.names = ["image", *compute(np.zeros((1, 1), np.uint8))]
        self.loaded: list[bytes] = []
        self.loads = self.executes = True
        self.busy = False
        self.batches_run: list[int] = []
        self.ILogger = type(
            "ILogger", (), {"Severity": enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR"])}
        )
        self.ExecutionContextAllocationStrategy = enum.Enum("Strategy", ["STATIC", "USER_MANAGED"])
        self.CudaGraphStrategy = enum.Enum("Graphs", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])
        self.TensorIOMode = enum.Enum("Mode", ["INPUT", "OUTPUT"])
        self.config: FakeRuntimeConfig | None = None

    def nptype(self, dtype):
        return dtype

    def Runtime(self, log):  # noqa: N802
        self.log = log
        return self

    def deserialize_cuda_engine(self, content):
        self.loaded.append(content)
        if not self.loads:
            self.log.log(self.ILogger.Severity.ERROR, "the plan is for another platform")
            return None
        return self

    @property
    def num_io_tensors(self):
        return len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_shape(self, name):
        return (-1, *(self.input_row if name == "image" else () if name == "melanoma_probability" else (5,)))

    def get_tensor_dtype(self, name):
        return np.uint8 if name == "image" else np.float32

    def get_tensor_mode(self, name):
        return self.TensorIOMode.INPUT if name == "image" else self.TensorIOMode.OUTPUT

    def create_runtime_config(self):
        self.config = FakeRuntimeConfig()
        return self.config

    def create_execution_context(self, how):
        strategy = how.strategy if isinstance(how, FakeRuntimeConfig) else how
        assert strategy is self.ExecutionContextAllocationStrategy.USER_MANAGED
        return FakeContext(self)


class FakeRuntimeConfig:
    """Runtime configuration and runtime cache of TensorRT for RTX in one."""

    strategy = cache = cuda_graph_strategy = None
    content = compiled = b""

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return self

    def set_runtime_cache(self, cache):
        self.cache = cache

    def deserialize(self, content):
        if content.startswith(b"kernels"):
            self.content = content
        return content.startswith(b"kernels")

    def serialize(self):
        return (self.content or b"kernels") + self.compiled


@pytest.fixture
def copy(bundle_copy) -> Bundle:
    return Bundle.open(bundle_copy)


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.backend.present_gpu", lambda device: L4)
    return fake


@pytest.fixture
def install(copy, cuda, monkeypatch):
    """Makes a library importable and puts an engine beside the bundle."""

    def make(device: str = "tensorrt", batches: BatchProfile = BatchProfile(2, 3, 4), **changes):  # noqa: B008
        name, version = device.replace("-", "_"), "11.4.0" if device == "tensorrt" else "1.7.1"
        library = FakeTensorRt(name, version, cuda, copy.manifest.input.height, batches)
        monkeypatch.setitem(sys.modules, name, library)
        cuda.free_bytes = 8 * int(np.prod(library.input_row))
        files = copy.manifest.files
        fields = {
            "device": device,
            "library_version": version,
            "platform": this_platform(device),
            "gpu": "NVIDIA L4",
            "compute_capabilities": ("8.9",),
            "cuda": "13.0",
            "bundle": copy.manifest.name,
            "bundle_checksum": copy.checksum,
            "part": "classify",
            "precision": "float32",
            "graph": "classify.onnx",
            "graph_sha256": files["classify.onnx"].sha256,
            "weights_sha256": files["weights.bin"].sha256,
            "batch_profile": batches,
            "engine_sha256": hashlib.sha256(ENGINE).hexdigest(),
            "engine_bytes": len(ENGINE),
            "build_seconds": 1.0,
        }
        path = engine_path(copy.folder / FOLDER, "classify.onnx", device)
        write_engine(path, memoryview(ENGINE), Sidecar.model_validate(fields | changes))
        return library

    return make


@pytest.fixture
def images(copy) -> Callable[..., np.ndarray]:
    """Images of different brightness, shape (count, H, W, 3)."""
    spec = copy.manifest.input

    def make(count: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        levels = rng.permutation(np.linspace(0, 255, max(count, 2)))[:count].astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (count, spec.height, spec.width, 3))

    return make


@pytest.fixture
def check() -> Callable[[dict[str, np.ndarray], np.ndarray], None]:
    """Compares outputs with what the kernels compute from the images."""

    def compare(outputs: dict[str, np.ndarray], pixels: np.ndarray) -> None:
        expected = compute(pixels)
        assert set(outputs) == set(expected)
        for name, array in outputs.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected[name], rtol=1e-6)

    return compare


@pytest.fixture
def opened(copy) -> Callable[..., TensorRtBackend]:
    """Opens the backend of level classify."""
    return lambda device="tensorrt": TensorRtBackend(copy, "classify", device, "float32")
