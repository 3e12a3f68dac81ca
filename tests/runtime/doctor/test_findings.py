from dataclasses import replace

import pytest

from biounet_edge.doctor.findings import assess as judge
from biounet_edge.doctor.findings import has_gpu

from .machines import CPU, GPU, with_packages


def finding(machine, name):
    (found,) = [finding for finding in judge(machine) if finding.name == name]
    return found


@pytest.mark.parametrize(
    "machine", [CPU, GPU, with_packages(GPU, tensorrt="11.0")], ids=["cpu", "gpu", "tensorrt"]
)
def test_all_is_well_on_a_machine_that_has_everything(machine):
    findings = list(judge(machine))
    assert {f.status for f in findings} == {"ok"}
    assert all(f.remedy is None for f in findings)


def test_what_is_well_is_described():
    texts = {f.name: f.text for f in judge(CPU)} | {f"GPU {f.name}": f.text for f in judge(GPU)}
    assert texts["Python"] == "3.12.3 on Linux x86_64"
    assert texts["Packages"].startswith("biounet-edge 1.0, onnxruntime 1.32.0, ")
    assert texts["ONNX Runtime"] == "onnxruntime 1.32.0 with CPUExecutionProvider"
    assert texts["OpenCV"] == "opencv-python-headless 5.0.0"
    assert texts["OpenVINO"] == "openvino 2026.4.1"
    assert texts["Processor"] == "multiplies bfloat16, with AMX"
    assert texts["NVIDIA GPU"] == "none"
    assert texts["GPU NVIDIA GPU"] == "NVIDIA L4, driver 590.10, up to CUDA 13.1"
    assert texts["GPU CUDA for ONNX Runtime"] == "the provider and its CUDA 13.0 libraries can be loaded"


TROUBLES = {
    "two onnxruntimes": (
        with_packages(CPU, onnxruntime_gpu="1.31.1"),
        ("ONNX Runtime", "problem", "onnxruntime and onnxruntime-gpu are installed together and overwrite"),
        'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "biounet-edge[cpu]"',
    ),
    "two onnxruntimes beside a GPU": (
        with_packages(GPU, onnxruntime="1.32.0"),
        ("ONNX Runtime", "problem", "onnxruntime and onnxruntime-gpu are installed together and overwrite"),
        'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "biounet-edge[gpu]"',
    ),
    "no library": (
        replace(with_packages(CPU, without=("onnxruntime", "openvino")), providers=()),
        (
            "ONNX Runtime",
            "problem",
            "no library that runs a graph is installed, such as onnxruntime or onnxruntime-gpu",
        ),
        'pip install "biounet-edge[cpu]"',
    ),
    "no library beside a GPU without driver": (
        replace(with_packages(CPU, without=("onnxruntime", "openvino")), providers=(), shows_gpu=True),
        (
            "ONNX Runtime",
            "problem",
            "no library that runs a graph is installed, such as onnxruntime or onnxruntime-gpu",
        ),
        'pip install "biounet-edge[gpu]"',
    ),
    "onnxruntime cannot be imported": (
        replace(CPU, onnxruntime_problem="DLL load failed\nwhile importing", providers=()),
        ("ONNX Runtime", "problem", "onnxruntime 1.32.0 cannot be imported: DLL load failed while importing"),
        "pip install --force-reinstall onnxruntime (on Windows it needs the Visual C++ runtime)",
    ),
    "two OpenCVs": (
        with_packages(CPU, opencv_python="5.0.0"),
        (
            "OpenCV",
            "warning",
            "opencv-python-headless and opencv-python are installed together and overwrite",
        ),
        "pip uninstall -y opencv-python-headless opencv-python, then pip install opencv-python-headless",
    ),
    "no driver": (
        replace(CPU, shows_gpu=True),
        ("NVIDIA GPU", "problem", "there is a GPU but no driver for it"),
        "install the NVIDIA driver from https://www.nvidia.com/drivers (in a container: start it with --gpus",
    ),
    "broken driver": (
        replace(GPU, gpus=(), gpu_problem="nvidia-smi does not answer within 10 seconds"),
        ("NVIDIA GPU", "problem", "does not work: nvidia-smi does not answer within 10 seconds"),
        "restart the machine; if that does not help, reinstall the NVIDIA driver",
    ),
    "old driver": (
        replace(GPU, driver_cuda="12.8"),
        (
            "NVIDIA GPU",
            "problem",
            "up to CUDA 12.8: too old a driver for onnxruntime-gpu, which is made for CUDA 13",
        ),
        "install a newer NVIDIA driver from https://www.nvidia.com/drivers, or an older onnxruntime-gpu",
    ),
    "idle GPU": (
        replace(GPU, packages=CPU.packages, providers=CPU.providers, provider_cuda=None),
        ("NVIDIA GPU", "warning", "up to CUDA 13.1: no installed library computes on it"),
        'pip uninstall -y onnxruntime, then pip install "biounet-edge[gpu]"',
    ),
    "no CUDA libraries": (
        replace(GPU, provider_problem="libcublasLt.so.13: cannot open shared object file"),
        (
            "CUDA for ONNX Runtime",
            "problem",
            "cannot be loaded: libcublasLt.so.13: cannot open shared object",
        ),
        'pip install "onnxruntime-gpu[cuda,cudnn]", which brings cuBLAS, cuDNN and the rest of CUDA',
    ),
    "no cuda-bindings": (
        with_packages(GPU, without=("cuda-bindings",)),
        (
            "CUDA for ONNX Runtime",
            "problem",
            "cuda-bindings is not installed: device cuda allocates its memory",
        ),
        'pip install "biounet-edge[gpu]"',
    ),
    "onnxruntime-gpu without a GPU": (
        replace(GPU, shows_gpu=False, driver_cuda=None, gpus=(), provider_problem="libcuda.so.1: missing"),
        (
            "CUDA for ONNX Runtime",
            "warning",
            "onnxruntime-gpu is installed but there is no NVIDIA GPU: device cuda is not available",
        ),
        'pip uninstall -y onnxruntime-gpu, then pip install "biounet-edge[cpu]", which is smaller',
    ),
    "TensorRT without a GPU": (
        with_packages(CPU, tensorrt="11.0"),
        (
            "TensorRT",
            "warning",
            "tensorrt is installed but there is no NVIDIA GPU: device tensorrt is not available",
        ),
        "pip uninstall -y tensorrt, unless engines are built here ahead of time",
    ),
    "TensorRT for RTX without a GPU": (
        with_packages(CPU, tensorrt_rtx="1.7"),
        (
            "TensorRT for RTX",
            "warning",
            "tensorrt-rtx is installed but there is no NVIDIA GPU: device tensorrt-rtx is not available",
        ),
        "pip uninstall -y tensorrt-rtx, unless engines are built here ahead of time",
    ),
    "TensorRT without cuda-bindings": (
        with_packages(GPU, without=("cuda-bindings",), tensorrt_rtx="1.7"),
        ("TensorRT for RTX", "problem", "tensorrt-rtx is installed without cuda-bindings"),
        'pip install "biounet-edge[tensorrt-rtx]"',
    ),
    "no bfloat16": (
        replace(CPU, fast_formats=frozenset({"vnni"})),
        (
            "Processor",
            "warning",
            "multiplies int8 (VNNI) but not bfloat16: it has neither AMX nor AVX512-BF16",
        ),
        "choose --precision int8 if the bundle has it",
    ),
    "an old processor": (
        replace(CPU, fast_formats=frozenset()),
        ("Processor", "warning", "neither bfloat16 nor int8: it has no AMX, AVX512-BF16 or VNNI"),
        "use --level classify if that is enough, or a CPU with AMX",
    ),
    "no OpenVINO": (
        with_packages(CPU, without=("openvino",)),
        (
            "OpenVINO",
            "warning",
            "not installed; this CPU multiplies bfloat16, which ONNX Runtime does not",
        ),
        'pip install "biounet-edge[openvino]"',
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_found_with_its_remedy(trouble):
    machine, (name, status, text), remedy = TROUBLES[trouble]
    found = finding(machine, name)
    assert found.status == status
    assert text in found.text
    assert found.remedy is not None
    assert remedy in found.remedy
    assert "\n" not in found.text + found.remedy


@pytest.mark.parametrize(
    ("machine", "name", "text"),
    [
        (
            replace(CPU, fast_formats=None),
            "Processor",
            "this system does not show whether it has AMX, AVX512-BF16 or VNNI",
        ),
        (
            replace(CPU, fast_formats=frozenset({"bf16", "vnni"})),
            "Processor",
            "with AVX512-BF16, which is slower",
        ),
        (
            replace(with_packages(CPU, without=("openvino",)), fast_formats=frozenset()),
            "OpenVINO",
            "not installed; this machine would gain little from it",
        ),
        (
            replace(with_packages(CPU, without=("onnxruntime",)), providers=()),
            "ONNX Runtime",
            "not installed; openvino 2026.4.1 runs the graphs",
        ),
        (with_packages(CPU, without=("opencv-python-headless",)), "OpenCV", "not installed by pip"),
        (replace(GPU, gpus=()), "NVIDIA GPU", "a driver, up to CUDA 13.1"),
        (replace(GPU, driver_cuda="13.0", provider_cuda="12.8"), "NVIDIA GPU", "up to CUDA 13.0"),
        (replace(CPU, shows_gpu=None), "NVIDIA GPU", "none"),
    ],
)
def test_what_is_no_trouble_is_none(machine, name, text):
    found = finding(machine, name)
    assert (found.status, found.remedy) == ("ok", None)
    assert text in found.text


def test_a_gpu_that_does_not_answer_counts_as_none():
    broken = replace(GPU, gpus=(), gpu_problem="nvidia-smi says: No devices were found")
    assert (has_gpu(CPU), has_gpu(GPU), has_gpu(broken)) == (False, True, False)
    assert finding(broken, "CUDA for ONNX Runtime").status == "warning"
    assert finding(broken, "Processor").status == "ok"
