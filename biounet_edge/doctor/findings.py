"""What the facts of a machine mean for this package: each function makes one check."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from biounet_edge.doctor.machine import ONNXRUNTIMES, OPENCVS, Machine


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    """What was looked at."""
    status: Literal["ok", "warning", "problem"]
    """Whether it works, works less well than it could, or does not work."""
    text: str
    """What was found."""
    remedy: str | None = None
    """What to do, in one line; None where all is well."""

    def to_dict(self) -> dict[str, Any]:
        """Make it ready for JSON.

        Returns:
            All fields.
        """
        return asdict(self)


def assess(machine: Machine) -> Iterator[Finding]:
    """Assess everything that does not depend on a bundle.

    Args:
        machine: What there is.

    Yields:
        One finding per check.
    """
    yield Finding("Python", "ok", f"{machine.python} on {machine.system}")
    yield Finding(
        "Packages", "ok", ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    )
    yield _opencv(machine)
    yield _onnxruntime(machine)
    yield _gpu(machine)
    if "CUDAExecutionProvider" in machine.providers:
        yield _cuda_provider(machine)
    yield from _tensorrt(machine)
    if not has_gpu(machine):
        yield _processor(machine)
        yield _openvino(machine)


def _opencv(machine: Machine) -> Finding:
    present = [name for name in OPENCVS if name in machine.packages]
    if len(present) > 1:
        return Finding(
            "OpenCV",
            "warning",
            f"{' and '.join(present)} are installed together and overwrite one another's module cv2",
            f"pip uninstall -y {' '.join(present)}, then pip install opencv-python-headless",
        )
    return Finding("OpenCV", "ok", _with_versions(machine, present) or "not installed by pip")


def _onnxruntime(machine: Machine) -> Finding:
    name = "ONNX Runtime"
    present = [package for package in ONNXRUNTIMES if package in machine.packages]
    if len(present) > 1:
        return Finding(
            name,
            "problem",
            f"{' and '.join(present)} are installed together and overwrite one another's module onnxruntime: "
            "devices may be missing",
            f'pip uninstall -y {" ".join(present)}, then pip install "biounet-edge[{_extra(machine)}]"',
        )
    if machine.onnxruntime_problem is not None:
        return Finding(
            name,
            "problem",
            f"{_with_versions(machine, present)} cannot be imported: {_line(machine.onnxruntime_problem)}",
            f"pip install --force-reinstall {present[0]} (on Windows it needs the Visual C++ runtime)",
        )
    others = [package for package in ("openvino", "tensorrt", "tensorrt-rtx") if package in machine.packages]
    if not present and not others:
        return Finding(
            name,
            "problem",
            "no library that runs a graph is installed, such as onnxruntime or onnxruntime-gpu",
            f'pip install "biounet-edge[{_extra(machine)}]"',
        )
    if not present:
        return Finding(name, "ok", f"not installed; {_with_versions(machine, others)} runs the graphs")
    return Finding(name, "ok", f"{_with_versions(machine, present)} with {', '.join(machine.providers)}")


def _gpu(machine: Machine) -> Finding:
    name = "NVIDIA GPU"
    if machine.driver_cuda is None and not machine.shows_gpu:
        return Finding(name, "ok", "none")
    if machine.driver_cuda is None:
        return Finding(
            name,
            "problem",
            "there is a GPU but no driver for it",
            "install the NVIDIA driver from https://www.nvidia.com/drivers (in a container: start it with "
            "--gpus all)",
        )
    if machine.gpu_problem is not None:
        return Finding(
            name,
            "problem",
            f"the driver is installed but does not work: {machine.gpu_problem}",
            "restart the machine; if that does not help, reinstall the NVIDIA driver",
        )
    text = f"{'; '.join(machine.gpus) or 'a driver'}, up to CUDA {machine.driver_cuda}"
    if machine.provider_cuda and _major(machine.driver_cuda) < _major(machine.provider_cuda):
        return Finding(
            name,
            "problem",
            f"{text}: too old a driver for onnxruntime-gpu, which is made for CUDA {machine.provider_cuda}",
            "install a newer NVIDIA driver from https://www.nvidia.com/drivers, or an older onnxruntime-gpu",
        )
    if not {"onnxruntime-gpu", "tensorrt", "tensorrt-rtx"} & machine.packages.keys():
        return Finding(
            name,
            "warning",
            f"{text}: no installed library computes on it",
            'pip uninstall -y onnxruntime, then pip install "biounet-edge[gpu]"',
        )
    return Finding(name, "ok", text)


def _cuda_provider(machine: Machine) -> Finding:
    name = "CUDA for ONNX Runtime"
    if not has_gpu(machine):
        return Finding(
            name,
            "warning",
            "onnxruntime-gpu is installed but there is no NVIDIA GPU: device cuda is not available",
            'pip uninstall -y onnxruntime-gpu, then pip install "biounet-edge[cpu]", which is smaller',
        )
    if machine.provider_problem is not None:
        return Finding(
            name,
            "problem",
            f"the provider is installed but cannot be loaded: {_line(machine.provider_problem)}",
            'pip install "onnxruntime-gpu[cuda,cudnn]", which brings cuBLAS, cuDNN and the rest of CUDA',
        )
    if "cuda-bindings" not in machine.packages:
        return Finding(
            name,
            "problem",
            "cuda-bindings is not installed: device cuda allocates its memory through it",
            'pip install "biounet-edge[gpu]"',
        )
    return Finding(name, "ok", f"the provider and its CUDA {machine.provider_cuda} libraries can be loaded")


def _tensorrt(machine: Machine) -> Iterator[Finding]:
    for package in ("tensorrt", "tensorrt-rtx"):
        if package not in machine.packages:
            continue
        name = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}[package]
        if not has_gpu(machine):
            yield Finding(
                name,
                "warning",
                f"{package} is installed but there is no NVIDIA GPU: device {package} is not available",
                f"pip uninstall -y {package}, unless engines are built here ahead of time",
            )
        elif "cuda-bindings" not in machine.packages:
            yield Finding(
                name,
                "problem",
                f"{package} is installed without cuda-bindings, which its backend needs",
                f'pip install "biounet-edge[{package}]"',
            )
        else:
            yield Finding(name, "ok", _with_versions(machine, [package]))


def _processor(machine: Machine) -> Finding:
    formats, name = machine.fast_formats, "Processor"
    if formats is None:
        return Finding(name, "ok", "this system does not show whether it has AMX, AVX512-BF16 or VNNI")
    if "bf16" in formats:
        how = "AMX" if "amx" in formats else "AVX512-BF16, which is slower than AMX"
        return Finding(name, "ok", f"multiplies bfloat16, with {how}")
    if "vnni" in formats:
        return Finding(
            name,
            "warning",
            "multiplies int8 (VNNI) but not bfloat16: it has neither AMX nor AVX512-BF16",
            "choose --precision int8 if the bundle has it",
        )
    return Finding(
        name,
        "warning",
        "multiplies neither bfloat16 nor int8: it has no AMX, AVX512-BF16 or VNNI, and float32 is slow",
        "use --level classify if that is enough, or a CPU with AMX (a Xeon of 2023 or later) or a GPU",
    )


def _openvino(machine: Machine) -> Finding:
    if "openvino" in machine.packages:
        return Finding("OpenVINO", "ok", _with_versions(machine, ["openvino"]))
    if "bf16" in (machine.fast_formats or ()):
        return Finding(
            "OpenVINO",
            "warning",
            "not installed; this CPU multiplies bfloat16, which ONNX Runtime does not use",
            'pip install "biounet-edge[openvino]"',
        )
    return Finding("OpenVINO", "ok", "not installed; this machine would gain little from it")


def has_gpu(machine: Machine) -> bool:
    """Return whether an NVIDIA GPU answers.

    Args:
        machine: What there is.

    Returns:
        True if there is a driver, and nothing says that it has no GPU.
    """
    return machine.driver_cuda is not None and machine.gpu_problem is None


def _extra(machine: Machine) -> str:
    return "gpu" if machine.driver_cuda is not None or machine.shows_gpu else "cpu"


def _with_versions(machine: Machine, packages: Iterable[str]) -> str:
    return " and ".join(f"{name} {machine.packages[name]}" for name in packages)


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _line(text: str) -> str:
    """Bring a library's message onto one line."""
    return " ".join(text.split())
