"""What there is on this machine: facts alone, which findings.py judges.

Nothing here raises for what is missing, and nothing waits for long: a broken GPU driver may never answer.
"""

import contextlib
import ctypes
import io
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from biounet_edge.backends.telemetry import import_onnxruntime, import_openvino
from biounet_edge.version import __version__

ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""Packages that all install the module onnxruntime, over one another."""
OPENCVS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""Packages that all install the module cv2, over one another."""
_OTHERS = ("numpy", "pydantic", "typer", "openvino", "tensorrt", "tensorrt-rtx", "cuda-bindings")

_NVIDIA_SMI_SECONDS = 10
_CPUINFO = Path("/proc/cpuinfo")
_PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True, slots=True)
class Machine:
    """Software, processor and GPU."""

    python: str
    """Version of Python."""
    system: str
    """Operating system and architecture, such as "Linux x86_64"."""
    packages: dict[str, str]
    """Version of each installed package that matters here."""
    onnxruntime_problem: str | None
    """Why onnxruntime cannot be imported; None where it can, or is not installed."""
    providers: tuple[str, ...]
    """ONNX Runtime's execution providers."""
    provider_cuda: str | None
    """CUDA version that onnxruntime-gpu is made for, such as "13.0"."""
    provider_problem: str | None
    """Why the library of the CUDAExecutionProvider cannot be loaded; None where it can, or is not there."""
    shows_gpu: bool | None
    """Whether an NVIDIA GPU is on the PCI bus; None where this cannot be seen."""
    driver_cuda: str | None
    """Newest CUDA version that the NVIDIA driver runs, such as "13.0"; None where there is no driver."""
    gpus: tuple[str, ...]
    """Name and driver version of each GPU that the driver lists."""
    gpu_problem: str | None
    """Why nvidia-smi lists none; None where it does, or is not installed."""
    fast_formats: frozenset[str] | None
    """Which of "amx", "bf16" and "vnni" the CPU has; None where this is not known."""


def look() -> Machine:
    """Look at this machine.

    Returns:
        What there is.
    """
    packages = installed_packages()
    library, problem = (
        _import_onnxruntime() if any(name in packages for name in ONNXRUNTIMES) else (None, None)
    )
    providers = tuple(library.get_available_providers()) if library else ()
    gpus, gpu_problem = _list_gpus()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=packages,
        onnxruntime_problem=problem,
        providers=providers,
        provider_cuda=getattr(library, "cuda_version", None) or None,
        provider_problem=_provider_problem(library) if "CUDAExecutionProvider" in providers else None,
        shows_gpu=_shows_gpu(),
        driver_cuda=_driver_cuda(),
        gpus=gpus,
        gpu_problem=gpu_problem,
        fast_formats=_fast_formats("openvino" in packages),
    )


def installed_packages() -> dict[str, str]:
    """Find the packages that matter here, by their names and not by the modules that they install.

    Returns:
        Versions by name.
    """
    packages = {"biounet-edge": __version__}
    for name in (*_OTHERS, *ONNXRUNTIMES, *OPENCVS):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return packages


def _import_onnxruntime() -> tuple[Any, str | None]:
    try:
        return import_onnxruntime(), None
    except Exception as error:  # whatever keeps it from being imported is what is wanted here
        return None, str(error)


def _provider_problem(library: Any) -> str | None:
    """Load the library of the CUDA provider, which names the first library that it does not find itself."""
    windows = sys.platform == "win32"
    name = "onnxruntime_providers_{}.dll" if windows else "libonnxruntime_providers_{}.so"
    folder = Path(library.__file__).parent / "capi"
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            library.preload_dlls()
        for part in ("shared", "cuda"):
            ctypes.CDLL(str(folder / name.format(part)))
    except OSError as error:
        return str(error)
    return None


def _shows_gpu() -> bool | None:
    if not _PCI.is_dir():
        return None
    with contextlib.suppress(OSError):
        for vendor in _PCI.glob("*/vendor"):
            # Vendor 0x10de is NVIDIA, and class 0x03 a display or a 3D controller.
            if vendor.read_text().strip() == "0x10de" and (vendor.parent / "class").read_text()[:4] == "0x03":
                return True
    return False


def _driver_cuda() -> str | None:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"  # CUDA writes 13.2 as 13020


def _list_gpus() -> tuple[tuple[str, ...], str | None]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return (), None
    try:
        answer = subprocess.run(
            [command, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NVIDIA_SMI_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return (), f"nvidia-smi does not answer within {_NVIDIA_SMI_SECONDS} seconds"
    except OSError as error:
        return (), f"nvidia-smi cannot be run ({error.strerror})"
    lines = [line.strip() for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
    if answer.returncode != 0 or not lines:
        return (), f"nvidia-smi says: {lines[0] if lines else 'nothing'}"
    return tuple(line.replace(", ", ", driver ", 1) for line in lines), None


def _fast_formats(has_openvino: bool) -> frozenset[str] | None:
    """Read the CPU's flags on Linux, and ask OpenVINO elsewhere."""
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("flags"):  # of x86; Arm has Features
                flags = set(line.split())
                formats = {
                    "amx": {"amx_bf16"},
                    "bf16": {"amx_bf16", "avx512_bf16"},
                    "vnni": {"avx512_vnni", "avx_vnni", "amx_int8"},
                }
                return frozenset(name for name, needed in formats.items() if flags & needed)
        return None
    if not has_openvino:
        return None
    try:
        openvino = import_openvino()

        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, OSError, RuntimeError):
        return None
    # It lists INT8 on any CPU, so that bfloat16 is all that is learnt; each CPU with it has VNNI.
    return frozenset({"bf16", "vnni"}) if "BF16" in capabilities else None
