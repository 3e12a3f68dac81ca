"""Machines on which all is well, and how one becomes another."""

from dataclasses import replace

from biounet_edge.doctor.machine import Machine

CPU = Machine(
    python="3.12.3",
    system="Linux x86_64",
    packages={"biounet-edge": "1.0", "onnxruntime": "1.32.0", "opencv-python-headless": "5.0.0"}
    | {"openvino": "2026.4.1"},
    onnxruntime_problem=None,
    providers=("CPUExecutionProvider",),
    provider_cuda=None,
    provider_problem=None,
    shows_gpu=False,
    driver_cuda=None,
    gpus=(),
    gpu_problem=None,
    fast_formats=frozenset({"amx", "bf16", "vnni"}),
)
GPU = replace(
    CPU,
    packages={"onnxruntime-gpu": "1.31.1", "cuda-bindings": "13.0", "opencv-python-headless": "5.0.0"},
    providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    provider_cuda="13.0",
    shows_gpu=True,
    driver_cuda="13.1",
    gpus=("NVIDIA L4, driver 590.10",),
)


def with_packages(machine, without=(), **added):
    """A machine with other packages; `_` in a name stands for `-`."""
    packages = {name: version for name, version in machine.packages.items() if name not in without}
    return replace(machine, packages=packages | {k.replace("_", "-"): v for k, v in added.items()})
