"""ONNX Runtime on a GPU that is not there: its memory is host memory, its session NumPy."""

import ctypes
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend

from .fake_cuda import FakeCuda

PROVIDER = "CUDAExecutionProvider"


def compute(images):
    """What the fake session computes."""
    brightness = images.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
    return {
        "melanoma_probability": brightness,
        "melanoma_contribution": brightness[:, np.newaxis] * np.arange(5, dtype=np.float32),
        "indicator_probability": brightness[:, np.newaxis] + np.arange(5, dtype=np.float32),
    }


class FakeBinding:
    def __init__(self, cuda):
        self.cuda, self.inputs, self.outputs, self.waited_for = cuda, {}, {}, False

    def _bind(self, bound, name, device, device_id, dtype, shape, address):
        assert (device, device_id) == ("cuda", 0)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert len(self.cuda.memory[address]) == size
        assert address not in self.cuda.page_locked
        memory = (ctypes.c_char * size).from_address(address)
        bound[name] = np.frombuffer(memory, dtype).reshape(shape)

    def bind_input(self, *arguments):
        self._bind(self.inputs, *arguments)

    def bind_output(self, *arguments):
        self._bind(self.outputs, *arguments)

    def clear_binding_inputs(self):
        self.inputs.clear()

    def clear_binding_outputs(self):
        self.outputs.clear()

    def synchronize_outputs(self):
        self.waited_for = True


class FakeSession:
    def __init__(self, cuda, providers, row):
        self.cuda, self.providers, self.row, self.bindings = cuda, providers, row, []
        self.lock = threading.Lock()

    def get_providers(self):
        return self.providers

    def get_inputs(self):
        return [types.SimpleNamespace(name="image", type="tensor(uint8)", shape=["N", *self.row])]

    def get_outputs(self):
        rows = {"melanoma_probability": [], "melanoma_contribution": [5], "indicator_probability": [5]}
        return [types.SimpleNamespace(name=name, shape=["N", *row]) for name, row in rows.items()]

    def io_binding(self):
        self.bindings.append(FakeBinding(self.cuda))
        return self.bindings[-1]

    def run_with_iobinding(self, binding):
        assert self.lock.acquire(blocking=False), "two threads compute in the same memory"
        assert self.cuda.queued == 0, "the images may not have arrived"
        for name, array in compute(binding.inputs["image"]).items():
            binding.outputs[name][...] = array
        self.lock.release()


class FakeOnnxRuntime(types.ModuleType):
    __version__ = "1.31.1"

    def __init__(self, cuda, row):
        super().__init__("onnxruntime")
        self.cuda, self.row, self.used = cuda, row, [PROVIDER, "CPUExecutionProvider"]
        self.severities, self.options, self.sessions = [], {}, []
        self.graph: object = None

    def get_available_providers(self):
        return ["TensorrtExecutionProvider", PROVIDER, "CPUExecutionProvider"]

    def preload_dlls(self):
        # On stdout, as onnxruntime 1.31 does.
        sys.stdout.write("Failed to load libcublasLt.so.13: no such file\n")
        sys.stdout.write("Please follow https://onnxruntime.ai/docs/install/ to install CUDA.\n")

    def set_default_logger_severity(self, severity):
        self.severities.append(severity)

    class SessionOptions:
        def add_session_config_entry(self, key, value):
            pass

    def InferenceSession(self, graph, options, providers, enable_fallback):  # noqa: N802
        self.graph, self.options = graph, dict(providers)
        assert not enable_fallback
        self.sessions.append(FakeSession(self.cuda, self.used, self.row))
        return self.sessions[-1]


@pytest.fixture
def cuda(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    return cuda


@pytest.fixture
def library(bundle, cuda, monkeypatch):
    library = FakeOnnxRuntime(cuda, (bundle.manifest.input.height, bundle.manifest.input.width, 3))
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    return library


@pytest.fixture
def backend(bundle, library):
    return OnnxRuntimeBackend(bundle, "classify", "cuda", "float32")


@pytest.fixture
def images(library):
    return np.random.default_rng(3).integers(0, 256, (6, *library.row), dtype=np.uint8)


def assert_right(outputs, images):
    for name, expected in compute(images).items():
        np.testing.assert_array_equal(outputs[name], expected)


def test_a_session_on_the_gpu_says_what_it_is(backend, library):
    assert backend.description == "onnxruntime 1.31.1, CUDAExecutionProvider"
    assert (backend.device, backend.precision) == ("cuda", "float32")


def test_float32_is_not_computed_in_tf32(backend, library):
    assert library.options == {PROVIDER: {"use_tf32": "0"}}


def test_nothing_is_printed_and_logging_is_put_back(backend, library, capfd):
    assert capfd.readouterr() == ("", "")
    assert library.severities == [4, 2]


def test_float16_runs_the_float16_graph(with_float16, library):
    both = with_float16("classify")
    for precision in ("float32", "float16"):
        assert OnnxRuntimeBackend(both, "classify", "cuda", precision).precision == precision
        assert library.graph == both.graph("classify", precision)


def test_run_copies_through_page_locked_memory_and_computes(backend, images):
    assert_right(backend.run(images), images)


def test_the_memory_of_a_batch_size_is_used_again(backend, library, cuda, images):
    first = backend.run(images)
    memory = set(cuda.memory)
    assert_right(backend.run(images[::-1]), images[::-1])
    assert set(cuda.memory) == memory
    assert len(library.sessions[0].bindings) == 1
    assert_right(first, images)


def test_memory_is_kept_for_the_batch_sizes_used_last(backend, library, cuda, images):
    for count in (1, 2, 3):
        backend.run(images[:count])
    memory, bindings = len(cuda.memory), library.sessions[0].bindings
    assert_right(backend.run(images[:1]), images[:1])
    assert len(bindings) == 3
    assert_right(backend.run(images[:4]), images[:4])  # takes the place of 2
    assert len(cuda.memory) == memory
    assert bindings[1].inputs == bindings[1].outputs == {}
    backend.run(images[:1])
    backend.run(images[:3])
    assert len(bindings) == 4


def test_the_outputs_are_waited_for_before_they_are_copied(backend, library, images):
    backend.run(images)
    assert library.sessions[0].bindings[0].waited_for


def test_several_threads_get_their_own_results(backend, images):
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda k: backend.run(images[k : k + 2]), [0, 1, 2, 3, 4] * 6))
    for k, outputs in zip([0, 1, 2, 3, 4] * 6, results, strict=True):
        assert_right(outputs, images[k : k + 2])


def test_close_gives_all_memory_back_and_may_be_called_twice(backend, cuda, images):
    backend.run(images)
    backend.run(images[:1])
    backend.close()
    backend.close()
    assert (cuda.memory, cuda.streams) == ({}, set())
    with pytest.raises(BackendUnavailableError, match="this ONNX Runtime backend is closed: open another"):
        backend.run(images)


def test_full_memory_is_named_and_what_was_taken_is_given_back(backend, cuda, images):
    cuda.allocations_left = 3
    with pytest.raises(BackendUnavailableError, match=r"cudaErrorMemoryAllocation: .*use a smaller batch"):
        backend.run(images)
    assert cuda.memory == {}
    cuda.allocations_left = 1000
    assert_right(backend.run(images), images)


def test_a_session_that_fell_back_to_the_cpu_is_refused(bundle, library):
    library.used = ["CPUExecutionProvider"]
    with pytest.raises(
        BackendUnavailableError,
        match=r"'cuda' was asked for, and onnxruntime 1.31.1 made a session with CPUExecutionProvider "
        r"instead of CUDAExecutionProvider \(Failed to load libcublasLt.so.13: no such file\): install an "
        r"NVIDIA driver, CUDA and cuDNN that fit it \(pip install \"biounet-edge\[gpu\]\"; .* doctor says",
    ):
        OnnxRuntimeBackend(bundle, "classify", "cuda", "float32")
    assert library.severities == [4, 2]


def test_missing_cuda_bindings_are_named_with_their_remedy(bundle, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(
        BackendUnavailableError,
        match=r"device 'cuda' needs cuda-bindings, which cannot be imported.*\"biounet-edge\[gpu\]\"",
    ):
        OnnxRuntimeBackend(bundle, "classify", "cuda", "float32")
