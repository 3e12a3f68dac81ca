import builtins
import ctypes
import importlib.metadata
import shutil
import subprocess
import sys
import types

import pytest

from biounet_edge.doctor import machine
from biounet_edge.doctor.machine import Machine, look
from biounet_edge.version import __version__


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """A machine with nothing on it; each test adds something."""

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    def load(name, *arguments, **options):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_PCI", tmp_path / "pci")
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)


def install(monkeypatch, **versions):
    """Installs packages, by name with `_` for `-`."""

    def version(name):
        if (key := name.replace("-", "_")) not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[key]

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_look_finds_nothing_on_a_bare_machine():
    found = look()
    assert isinstance(found, Machine)
    assert found.packages == {"biounet-edge": __version__}
    assert found.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert (found.onnxruntime_problem, found.providers, found.provider_cuda) == (None, (), None)
    assert (found.provider_problem, found.shows_gpu, found.driver_cuda) == (None, None, None)
    assert (found.gpus, found.gpu_problem, found.fast_formats) == ((), None, None)


def test_look_finds_packages_that_share_a_module(monkeypatch):
    install(
        monkeypatch,
        onnxruntime="1.32.0",
        onnxruntime_gpu="1.31.1",
        opencv_python="5.0",
        opencv_python_headless="5.0",
    )
    assert look().packages.keys() >= {
        "onnxruntime", "onnxruntime-gpu", "opencv-python", "opencv-python-headless"
    }  # fmt: skip


def test_look_tells_why_onnxruntime_cannot_be_imported(monkeypatch):
    real_import = builtins.__import__

    def broken(name, *arguments, **options):
        if name == "onnxruntime":
            raise ImportError("DLL load failed")
        return real_import(name, *arguments, **options)

    install(monkeypatch, onnxruntime="1.32.0")
    monkeypatch.setattr(builtins, "__import__", broken)
    assert look().onnxruntime_problem == "DLL load failed"


@pytest.fixture
def gpu_library(monkeypatch, tmp_path):
    """onnxruntime-gpu, which prints what it does not find."""
    library = types.ModuleType("onnxruntime")
    library.__file__ = str(tmp_path / "onnxruntime" / "__init__.py")
    library.cuda_version = "13.0"
    library.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    library.preload_dlls = lambda: sys.stdout.write("Failed to load libcublas.so.13\n")
    install(monkeypatch, onnxruntime_gpu="1.31.1")
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    return library


@pytest.mark.parametrize(
    ("platform", "shared", "cuda"),
    [
        ("linux", "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"),
        ("win32", "onnxruntime_providers_shared.dll", "onnxruntime_providers_cuda.dll"),
    ],
)
def test_look_tells_why_the_cuda_provider_cannot_be_loaded(
    platform, shared, cuda, gpu_library, monkeypatch, tmp_path, capfd
):
    def load(path):
        if path == str(tmp_path / "onnxruntime" / "capi" / shared):
            return None
        raise OSError(f"libcublasLt.so.13 is missing for {path}")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", load)
    found = look()
    assert found.provider_cuda == "13.0"
    assert (
        found.provider_problem
        == f"libcublasLt.so.13 is missing for {tmp_path / 'onnxruntime' / 'capi' / cuda}"
    )
    assert capfd.readouterr() == ("", "")


def test_look_finds_a_cuda_provider_that_can_be_loaded(gpu_library, monkeypatch):
    monkeypatch.setattr(
        ctypes, "CDLL", lambda path: types.SimpleNamespace(cuDriverGetVersion=lambda number: 1)
    )
    found = look()
    assert found.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert found.provider_problem is None


@pytest.mark.parametrize(
    ("platform", "name", "number", "version"),
    [("linux", "libcuda.so.1", 13020, "13.2"), ("win32", "nvcuda.dll", 12080, "12.8")],
)
def test_look_asks_the_driver_for_its_cuda(platform, name, number, version, monkeypatch):
    def answer(reference):
        reference._obj.value = number
        return 0

    def load(path):
        assert path == name
        return types.SimpleNamespace(cuDriverGetVersion=answer)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert look().driver_cuda == version


def test_look_takes_a_driver_that_answers_an_error_for_none(monkeypatch):
    monkeypatch.setattr(
        ctypes, "CDLL", lambda path: types.SimpleNamespace(cuDriverGetVersion=lambda number: 3)
    )
    assert look().driver_cuda is None


@pytest.mark.parametrize(
    ("vendor", "kind", "shown"),
    [("10de", "030200", True), ("10de", "040300", False), ("8086", "030000", False)],
)
def test_look_sees_a_gpu_on_the_bus(vendor, kind, shown, tmp_path):
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"0x{vendor}\n")
    (device / "class").write_text(f"0x{kind}\n")
    assert look().shows_gpu is shown


def nvidia_smi(monkeypatch, outcome):
    """An nvidia-smi that ends so."""

    def run(command, **options):
        assert command[0] == "/usr/bin/nvidia-smi"
        assert options["timeout"] <= 10
        if isinstance(outcome, Exception):
            raise outcome
        code, stdout, stderr = outcome
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)


def test_look_lists_the_gpus(monkeypatch):
    nvidia_smi(monkeypatch, (0, "NVIDIA L4, 590.10\nNVIDIA A2, 590.10\n", ""))
    found = look()
    assert found.gpus == ("NVIDIA L4, driver 590.10", "NVIDIA A2, driver 590.10")
    assert found.gpu_problem is None


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (subprocess.TimeoutExpired("nvidia-smi", 10), "nvidia-smi does not answer within 10 seconds"),
        (PermissionError(13, "Permission denied"), "nvidia-smi cannot be run (Permission denied)"),
        ((9, "NVIDIA-SMI has failed\nbecause", ""), "nvidia-smi says: NVIDIA-SMI has failed"),
        ((6, "", "No devices were found\n"), "nvidia-smi says: No devices were found"),
        ((0, "", ""), "nvidia-smi says: nothing"),
    ],
)
def test_look_tells_why_no_gpu_is_listed(outcome, problem, monkeypatch):
    nvidia_smi(monkeypatch, outcome)
    found = look()
    assert (found.gpus, found.gpu_problem) == ((), problem)


@pytest.mark.parametrize(
    ("cpuinfo", "formats"),
    [
        (
            "flags\t\t: fpu avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8\n",
            {"amx", "bf16", "vnni"},
        ),
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni\n", {"bf16", "vnni"}),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n", {"vnni"}),
        ("flags\t\t: fpu avx2\n", set()),
        ("Features\t: fp asimd bf16\n", None),
    ],
)
def test_look_reads_the_flags_of_the_cpu(cpuinfo, formats, tmp_path):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert look().fast_formats == formats


@pytest.mark.parametrize(
    ("capabilities", "formats"), [(["FP32", "INT8", "BF16"], {"bf16", "vnni"}), (["FP32", "INT8"], None)]
)
def test_look_asks_openvino_where_there_are_no_flags_to_read(capabilities, formats, monkeypatch):
    library = types.ModuleType("openvino")
    library.Core = lambda: types.SimpleNamespace(get_property=lambda device, name: capabilities)
    monkeypatch.setitem(sys.modules, "openvino", library)
    install(monkeypatch, openvino="2026.4.1")
    assert look().fast_formats == formats


def test_look_survives_an_openvino_that_cannot_be_used(monkeypatch):
    install(monkeypatch, openvino="2026.4.1")
    assert look().fast_formats is None
