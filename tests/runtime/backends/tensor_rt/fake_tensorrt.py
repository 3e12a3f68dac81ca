"""A TensorRT that runs one engine on a GPU that is not there: its kernels are NumPy.

It insists on what TensorRT documents: the order of calls, room in every buffer, and one thread on a stream.
"""

import ctypes
import enum
import time
import types

import numpy as np

from biounet_edge.backends.tensor_rt.sidecar import BatchProfile

from ..fake_cuda import FakeCuda


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
