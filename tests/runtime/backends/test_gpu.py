import enum
import sys
import types

import pytest

from biounet_edge import BackendUnavailableError, InputError
from biounet_edge.backends.gpu import Gpu, cuda_call, present_gpu
from biounet_edge.backends.tensor_rt.library import import_tensorrt

Code = enum.IntEnum("Code", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorNoDevice": 100})


def cuda(driver: int = 13000, runtime: int = 13020, code: Code = Code.cudaSuccess):
    """The CUDA runtime of a machine with one GPU, or with what `code` says."""
    properties = types.SimpleNamespace(name=b"NVIDIA L4\0\0", major=8, minor=9)

    def cudaGetDeviceProperties(device):  # noqa: N802
        return (code, properties if code == 0 and device == 0 else None)

    module = types.ModuleType("cuda.bindings.runtime")
    module.cudaDriverGetVersion = lambda: (Code.cudaSuccess, driver)
    module.cudaRuntimeGetVersion = lambda: (Code.cudaSuccess, runtime)
    module.cudaGetDeviceProperties = cudaGetDeviceProperties
    return module


def use(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(("driver", "version"), [(13000, "13.0"), (13010, "13.1"), (13120, "13.12")])
def test_present_gpu_reads_name_architecture_and_driver(driver, version, monkeypatch):
    use(monkeypatch, "cuda.bindings.runtime", cuda(driver=driver))
    assert present_gpu("tensorrt") == Gpu("NVIDIA L4", "8.9", version)


def test_present_gpu_says_how_to_install_cuda_bindings(monkeypatch):
    use(monkeypatch, "cuda.bindings.runtime", None)
    with pytest.raises(
        BackendUnavailableError, match=r"needs cuda-bindings.*pip install \"biounet-edge\[tensorrt-rtx\]\""
    ):
        present_gpu("tensorrt-rtx")


def test_present_gpu_names_a_missing_driver(monkeypatch):
    use(monkeypatch, "cuda.bindings.runtime", cuda(driver=0))
    with pytest.raises(
        BackendUnavailableError, match=r"'tensorrt' needs an NVIDIA GPU.*has no driver: install"
    ):
        present_gpu("tensorrt")


def test_present_gpu_names_a_driver_of_an_older_cuda(monkeypatch):
    use(monkeypatch, "cuda.bindings.runtime", cuda(driver=12080))
    with pytest.raises(
        BackendUnavailableError,
        match=r"driver runs CUDA 12.8 and cuda-bindings is made for CUDA 13.2.*bindings<13",
    ):
        present_gpu("tensorrt")


def test_present_gpu_names_a_machine_without_a_gpu(monkeypatch):
    use(monkeypatch, "cuda.bindings.runtime", cuda(code=Code.cudaErrorNoDevice))
    with pytest.raises(
        BackendUnavailableError, match=r"CUDA shows none \(.*cudaErrorNoDevice\): choose another"
    ):
        present_gpu("tensorrt")


def test_cuda_call_returns_results_without_the_code():
    assert cuda_call(lambda: (Code.cudaSuccess,)) is None
    assert cuda_call(lambda size: (Code.cudaSuccess, size), 7) == 7
    assert cuda_call(lambda: (Code.cudaSuccess, 1, 2)) == (1, 2)


def test_cuda_call_says_what_to_do_when_the_memory_is_full():
    def cudaMalloc(size):  # noqa: N802
        return Code.cudaErrorMemoryAllocation, None

    with pytest.raises(
        BackendUnavailableError,
        match=r"cudaMalloc failed.*cudaErrorMemoryAllocation: the memory is full, use a sma",
    ):
        cuda_call(cudaMalloc, 7)


@pytest.mark.parametrize(("device", "module"), [("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")])
def test_import_tensorrt_says_how_to_install_it(device, module, monkeypatch):
    use(monkeypatch, module, None)
    with pytest.raises(
        BackendUnavailableError,
        match=rf"'{device}' needs {module}, .*pip install \"biounet-edge\[{device}\]\"",
    ):
        import_tensorrt(device)


@pytest.mark.parametrize(("version", "accepted"), [("10.12.0.36", True), ("11.0.0", True), ("10.3.0", False)])
def test_import_tensorrt_refuses_versions_before_10_12(version, accepted, monkeypatch):
    library = types.ModuleType("tensorrt")
    library.__version__ = version
    use(monkeypatch, "tensorrt", library)
    if accepted:
        assert import_tensorrt("tensorrt") is library
    else:
        with pytest.raises(
            BackendUnavailableError, match=r"needs tensorrt 10.12 or newer, and 10.3.0 is.*--upgr"
        ):
            import_tensorrt("tensorrt")


def test_import_tensorrt_names_the_devices_with_engines():
    with pytest.raises(InputError, match=r"engines are there for tensorrt and tensorrt-rtx, and not .*'cpu'"):
        import_tensorrt("cpu")
