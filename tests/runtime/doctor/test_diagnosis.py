import json
import os
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from biounet_edge import BackendUnavailableError, Bundle, EngineMismatchError
from biounet_edge.cli.doctor import doctor
from biounet_edge.doctor import diagnosis as doctor_module
from biounet_edge.doctor.diagnosis import diagnose
from biounet_edge.doctor.findings import assess as judge
from biounet_edge.doctor.findings import has_gpu
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
    assert texts["GPU CUDA for ONNX Runtime"] == "the provider and its libraries of CUDA 13.0 can be loaded"


TROUBLES = {
    "two onnxruntimes": (
        with_packages(CPU, onnxruntime_gpu="1.31.1"),
        ("ONNX Runtime", "problem", "onnxruntime and onnxruntime-gpu are all installed and overwrite"),
        'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "biounet-edge[cpu]"',
    ),
    "two onnxruntimes beside a GPU": (
        with_packages(GPU, onnxruntime="1.32.0"),
        ("ONNX Runtime", "problem", "onnxruntime and onnxruntime-gpu are all installed and overwrite"),
        'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "biounet-edge[gpu]"',
    ),
    "no library": (
        replace(with_packages(CPU, without=("onnxruntime", "openvino")), providers=()),
        (
            "ONNX Runtime",
            "problem",
            "neither onnxruntime nor onnxruntime-gpu is installed, nor another library",
        ),
        'pip install "biounet-edge[cpu]"',
    ),
    "no library beside a GPU without driver": (
        replace(with_packages(CPU, without=("onnxruntime", "openvino")), providers=(), shows_gpu=True),
        (
            "ONNX Runtime",
            "problem",
            "neither onnxruntime nor onnxruntime-gpu is installed, nor another library",
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
        ("OpenCV", "warning", "opencv-python-headless and opencv-python are all installed and overwrite"),
        "pip uninstall -y opencv-python-headless opencv-python, then pip install opencv-python-headless",
    ),
    "no driver": (
        replace(CPU, shows_gpu=True),
        ("NVIDIA GPU", "problem", "there is a GPU and no driver for it"),
        "install the NVIDIA driver from https://www.nvidia.com/drivers (in a container: start it with --gpus",
    ),
    "broken driver": (
        replace(GPU, gpus=(), gpu_problem="nvidia-smi does not answer within 10 seconds"),
        ("NVIDIA GPU", "problem", "does not work: nvidia-smi does not answer within 10 seconds"),
        "restart the machine; where that does not help, install the NVIDIA driver anew",
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
        ("CUDA for ONNX Runtime", "problem", "cuda-bindings is not installed: device cuda takes its memory"),
        'pip install "biounet-edge[gpu]"',
    ),
    "onnxruntime-gpu without a GPU": (
        replace(GPU, shows_gpu=False, driver_cuda=None, gpus=(), provider_problem="libcuda.so.1: missing"),
        (
            "CUDA for ONNX Runtime",
            "warning",
            "onnxruntime-gpu is installed and there is no NVIDIA GPU to use",
        ),
        'pip uninstall -y onnxruntime-gpu, then pip install "biounet-edge[cpu]", which is smaller',
    ),
    "TensorRT without a GPU": (
        with_packages(CPU, tensorrt="11.0"),
        ("TensorRT", "warning", "tensorrt is installed and there is no NVIDIA GPU to use"),
        "pip uninstall -y tensorrt, unless engines are built here ahead of time",
    ),
    "TensorRT for RTX without a GPU": (
        with_packages(CPU, tensorrt_rtx="1.7"),
        ("TensorRT for RTX", "warning", "tensorrt-rtx is installed and there is no NVIDIA GPU to use"),
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
            "multiplies int8 (VNNI) and no bfloat16: it has neither AMX nor AVX512-BF16",
        ),
        "choose --precision int8 where the bundle has it",
    ),
    "an old processor": (
        replace(CPU, fast_formats=frozenset()),
        ("Processor", "warning", "neither bfloat16 nor int8: it has no AMX, AVX512-BF16 or VNNI"),
        "take --level classify where that is enough, or a CPU with AMX",
    ),
    "no OpenVINO": (
        with_packages(CPU, without=("openvino",)),
        (
            "OpenVINO",
            "warning",
            "not installed, and this CPU multiplies bfloat16, which ONNX Runtime does not",
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
            "whether it has AMX, AVX512-BF16 or VNNI cannot be seen",
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
        (with_packages(CPU, without=("opencv-python-headless",)), "OpenCV", "a build of its own"),
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


@pytest.fixture
def machine(monkeypatch):
    """Sets the machine that is diagnosed."""
    monkeypatch.setattr(doctor_module, "look", lambda: CPU)
    return lambda other: monkeypatch.setattr(doctor_module, "look", lambda: other)


def by_name(findings):
    return {f.name: f for f in findings}


def test_diagnose_checks_the_demo_bundle_by_default(machine):
    found = by_name(diagnose())["Bundle"]
    assert found.status == "ok"
    demo = Bundle.open()
    assert found.text.startswith(f"{demo.manifest.name} {demo.manifest.version} in {demo.folder}: ")
    assert found.text.endswith(" files, checksums fit")


def test_diagnose_finds_a_damaged_bundle(bundle_copy, machine):
    (bundle_copy / "full.onnx").write_bytes(b"damaged")
    found = by_name(diagnose(bundle_copy))["Bundle"]
    assert (found.status, found.remedy) == ("problem", "fetch the bundle again")
    assert "full.onnx is not the file that the bundle's manifest names" in found.text


def test_diagnose_finds_that_there_is_no_bundle(tmp_path, machine):
    found = by_name(diagnose(tmp_path))["Bundle"]
    assert found.status == "problem"
    assert f"there is no bundle at {tmp_path}" in found.text
    assert found.remedy == "name the folder that has the manifest.json of a bundle"


def test_diagnose_finds_a_bundle_of_a_newer_format(bundle_copy, machine):
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    found = by_name(diagnose(bundle_copy))["Bundle"]
    assert found.status == "problem"
    assert "format 99" in found.text
    assert "pip install --upgrade biounet-edge" in found.remedy


def test_diagnose_finds_that_nothing_compiled_can_be_kept(bundle, machine, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = by_name(diagnose(bundle.folder))["Compiled models"]
    assert found.status == "warning"
    assert "cannot be written, so that OpenVINO compiles the bundle at each start" in found.text
    assert found.remedy == "copy the bundle to a folder of your own, and name that folder"
    machine(with_packages(CPU, without=("openvino",)))
    assert "Compiled models" not in by_name(diagnose(bundle.folder))


@pytest.fixture
def engine(bundle_copy):
    """The name of the finding about an engine whose content does not matter."""
    folder = bundle_copy / "compiled"
    folder.mkdir(exist_ok=True)
    (folder / "classify.tensorrt.engine").write_bytes(b"an engine")
    return "Engine classify.tensorrt.engine"


def test_diagnose_finds_engines_that_no_gpu_runs(bundle_copy, engine, machine):
    found = by_name(diagnose(bundle_copy))[engine]
    assert found.status == "warning"
    assert found.text == "no NVIDIA GPU answers on this machine, so that it cannot run here"
    assert found.remedy == "leave tensorrt to the machine that it was built for"


def load_as(monkeypatch, outcome):
    """Makes reading any engine end so."""

    class Library:
        __version__ = "11.0"

    def read_engine(bundle, level, device, precision, version, gpu):
        assert (level, device, precision, version, gpu) == ("classify", "tensorrt", "float32", "11.0", "L4")
        if isinstance(outcome, Exception):
            raise outcome

    monkeypatch.setattr(doctor_module, "import_tensorrt", lambda device: Library)
    monkeypatch.setattr(doctor_module, "present_gpu", lambda device: "L4")
    monkeypatch.setattr(doctor_module, "read_engine", read_engine)


def test_diagnose_finds_engines_that_were_built_elsewhere(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, EngineMismatchError("it was built for something else: GPU"))
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.text) == ("problem", "it was built for something else: GPU")
    assert found.remedy == (
        f"biounet-edge build {bundle_copy} --device tensorrt --level classify --precision float32"
    )


def test_diagnose_finds_engines_whose_library_is_missing(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, BackendUnavailableError("device 'tensorrt' needs tensorrt"))
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.text) == ("problem", "device 'tensorrt' needs tensorrt")
    assert found.remedy == 'pip install "biounet-edge[tensorrt]"'


def test_diagnose_finds_engines_that_fit(bundle_copy, engine, machine, monkeypatch):
    machine(GPU)
    load_as(monkeypatch, None)
    found = by_name(diagnose(bundle_copy))[engine]
    assert (found.status, found.remedy) == ("ok", None)
    assert found.text == "fits this GPU, tensorrt 11.0 and the bundle"


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(doctor)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_doctor_exits_with_0_where_there_is_no_problem(run, machine):
    machine(replace(CPU, fast_formats=frozenset({"vnni"})))
    result = run()
    assert result.exit_code == 0
    assert "Processor" in result.stdout
    assert "warning" in result.stdout
    assert "-> choose --precision int8 where the bundle has it" in result.stdout
    assert result.stderr == ""


def test_doctor_exits_with_1_where_there_is_a_problem(run, machine, tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "-> name the folder that has the" in result.stdout
    assert result.stderr == "1 problem found\n"


def test_doctor_prints_json(run, machine, tmp_path):
    machine(TROUBLES["no driver"][0])
    result = run(tmp_path, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["problems"] == 2
    assert {"name": "NVIDIA GPU", "status": "problem"}.items() <= content["findings"][4].items()
    assert set(content["findings"][0]) == {"name", "status", "text", "remedy"}
    assert result.stderr == "2 problems found\n"


def test_doctor_runs_on_this_machine(run):
    result = run("--json")
    names = [found["name"] for found in json.loads(result.stdout)["findings"]]
    assert names[:4] == ["Python", "Packages", "OpenCV", "ONNX Runtime"]
    assert "Bundle" in names
