import hashlib
import json
import sys

import pytest

from biounet_edge import BackendUnavailableError, Bundle, InputError
from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.building import build_engines, build_graph
from biounet_edge.backends.tensor_rt.engine_files import read_engine
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile

from .fake_compiler import FakeCompiler

L4 = Gpu("NVIDIA L4", "8.9", "13.0")


@pytest.fixture
def tensorrt(monkeypatch) -> FakeCompiler:
    """TensorRT on a machine with an L4."""
    library = FakeCompiler()
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.building.present_gpu", lambda device: L4)
    return library


@pytest.fixture
def rtx(monkeypatch) -> FakeCompiler:
    """TensorRT for RTX on a machine without a GPU."""
    library = FakeCompiler("tensorrt_rtx", "1.7.1.116")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)

    def no_gpu(device):
        raise BackendUnavailableError("this machine has no driver: install it")

    monkeypatch.setattr("biounet_edge.backends.tensor_rt.building.present_gpu", no_gpu)
    return library


def test_build_engines_leaves_what_the_backend_reads(copy, tensorrt):
    built = build_engines(copy, "tensorrt")
    assert [engine.sidecar.part for engine in built] == list(copy.manifest.levels)
    for engine in built:
        sidecar, content = read_engine(
            copy, engine.sidecar.part, "tensorrt", engine.sidecar.precision, "10.14.1", L4
        )
        assert sidecar == engine.sidecar
        assert content == b"compiled " + str(copy.folder / sidecar.graph).encode()
        assert sidecar.engine_sha256 == hashlib.sha256(content).hexdigest()
        assert (sidecar.gpu, sidecar.compute_capabilities, sidecar.cuda) == ("NVIDIA L4", ("8.9",), "13.0")


def test_build_graph_sets_precision_and_the_profile_of_every_input(copy, tensorrt):
    build_graph(copy, "fusion.onnx", "tensorrt", BatchProfile(2, 4, 16))
    assert tensorrt.told["profile"] == {
        "input_0": ((2, 12, 8), (4, 12, 8), (16, 12, 8)),
        "input_1": ((2, 12, 9), (4, 12, 9), (16, 12, 9)),
    }
    assert tensorrt.told["flags"] == 1 << 1  # strongly typed
    assert tensorrt.told["cleared"] is tensorrt.BuilderFlag.TF32
    assert tensorrt.told["capabilities"] == []


def test_build_graph_needs_no_flag_where_every_network_is_strongly_typed(copy, tensorrt):
    del tensorrt.NetworkDefinitionCreationFlag
    build_graph(copy, "fusion.onnx", "tensorrt")
    assert tensorrt.told["flags"] == 0


@pytest.mark.parametrize(
    ("precision", "expected"), [(None, "float16"), ("float16", "float16"), ("float32", "float32")]
)
def test_build_engines_prefers_float16(precision, expected, with_float16, tensorrt):
    bundle = with_float16("classify", "cam", "full")
    for engine in build_engines(bundle, "tensorrt", ["full", "classify"], precision):
        assert engine.sidecar.precision == expected
        assert engine.path.stem == (f"{engine.sidecar.part}{'_float16' * (expected == 'float16')}.tensorrt")


def test_build_engines_takes_one_precision_for_all_levels(with_float16, tensorrt):
    built = build_engines(with_float16("classify"), "tensorrt")
    assert {engine.sidecar.precision for engine in built} == {"float32"}


def test_build_engines_builds_each_level_once(copy, tensorrt):
    assert [e.sidecar.part for e in build_engines(copy, "tensorrt", ["cam", "full", "cam"])] == [
        "cam",
        "full",
    ]


def test_build_graph_takes_components_of_every_precision(with_float16, tensorrt, tmp_path):
    bundle = with_float16()
    built = build_graph(bundle, "encoder_streaks_float16.onnx", "tensorrt", output=tmp_path / "engines")
    assert built.path == tmp_path / "engines" / "encoder_streaks_float16.tensorrt.engine"
    assert (built.sidecar.part, built.sidecar.precision) == ("encoder_streaks", "float16")
    assert built.sidecar.graph_sha256 == bundle.manifest.files["encoder_streaks.onnx"].sha256


def test_build_graph_for_rtx_builds_ahead_of_time(copy, rtx):
    built = build_graph(copy, "classify.onnx", "tensorrt-rtx", compute_capabilities=["8.9", "12.0", "8.9"])
    assert rtx.told["capabilities"] == [rtx.ComputeCapability.SM89, rtx.ComputeCapability.SM120]
    assert built.sidecar.compute_capabilities == ("8.9", "12.0")
    assert (built.sidecar.gpu, built.sidecar.cuda, built.sidecar.platform) == (None, None, None)
    assert not list(built.path.parent.glob("timing.*"))


def test_build_graph_for_rtx_builds_for_the_gpu_of_this_machine(copy, rtx, monkeypatch):
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.building.present_gpu", lambda device: L4)
    built = build_graph(copy, "classify.onnx", "tensorrt-rtx")
    assert rtx.told["capabilities"] == [rtx.ComputeCapability.SM89]
    assert (built.sidecar.gpu, built.sidecar.compute_capabilities) == ("NVIDIA L4", ("8.9",))


def test_build_graph_for_rtx_without_a_gpu_says_how_to_build_ahead_of_time(copy, rtx):
    with pytest.raises(
        BackendUnavailableError, match=r"no driver: install it; or build ahead.*--compute-capab"
    ):
        build_graph(copy, "classify.onnx", "tensorrt-rtx")


def test_build_graph_lists_the_architectures_that_the_library_knows(copy, rtx):
    with pytest.raises(
        InputError, match=r"does not build for compute capability 9.0: it knows 8.0, 8.9, 12.0"
    ):
        build_graph(copy, "classify.onnx", "tensorrt-rtx", compute_capabilities=["8.9", "9.0"])


def test_build_graph_notices_an_architecture_that_the_library_refuses(copy, rtx):
    with pytest.raises(
        BackendUnavailableError, match=r"cannot take these compute capabilities for .*classify"
    ):
        build_graph(copy, "classify.onnx", "tensorrt-rtx", compute_capabilities=["8.0"])


def test_build_graph_takes_no_architectures_for_tensorrt(copy, tensorrt):
    with pytest.raises(
        InputError, match=r"builds for the GPU of the machine that it builds on: leave --comp"
    ):
        build_graph(copy, "classify.onnx", "tensorrt", compute_capabilities=["8.9"])


def test_build_graph_lists_the_graphs_there_are(copy, tensorrt):
    with pytest.raises(
        InputError, match=r"has no graph other.onnx: choose one of cam.onnx, .*classify.onnx, .*dec"
    ):
        build_graph(copy, "other.onnx", "tensorrt")


def test_build_graph_refuses_a_precision_of_other_devices(copy, tensorrt):
    content = json.loads(copy.manifest.to_json())
    content["levels"]["full"]["graphs"]["int8"] = "cam.onnx"
    bundle = Bundle(copy.folder, type(copy.manifest).model_validate(content), copy.checksum)
    with pytest.raises(
        InputError, match=r"cam.onnx computes in int8, and device tensorrt in float16 and float32"
    ):
        build_engines(bundle, "tensorrt", ["full"], "int8")


def test_build_graph_says_why_a_graph_cannot_be_read(copy, tensorrt):
    tensorrt.parses = False
    with pytest.raises(
        BackendUnavailableError, match=r"tensorrt 10.14.1 cannot read .*full.onnx: unknown operator Foo$"
    ):
        build_graph(copy, "full.onnx", "tensorrt")


def test_build_graph_says_why_a_graph_cannot_be_compiled(copy, tensorrt):
    tensorrt.compiles = False
    with pytest.raises(BackendUnavailableError, match=r"cannot compile .*full.onnx: no kernel for Conv_7$"):
        build_graph(copy, "full.onnx", "tensorrt")
    assert not (copy.folder / "compiled" / "full.tensorrt.engine").exists()


def test_build_graph_keeps_the_times_of_kernels(copy, tensorrt):
    cache = build_graph(copy, "cam.onnx", "tensorrt").path.with_name("timing.tensorrt.cache")
    assert tensorrt.told["timing"] == (b"", False)
    cache.write_bytes(b"times")
    build_graph(copy, "full.onnx", "tensorrt")
    assert tensorrt.told["timing"] == (b"times", False)
    assert cache.read_bytes() == b"times+"


def test_build_graph_starts_anew_where_the_times_are_of_another_gpu(copy, tensorrt):
    cache = build_graph(copy, "cam.onnx", "tensorrt").path.with_name("timing.tensorrt.cache")
    cache.write_bytes(b"times of another GPU")
    build_graph(copy, "full.onnx", "tensorrt")
    assert tensorrt.told["timing"] == (b"", False)
    assert cache.read_bytes() == b"+"


def test_build_graph_reports_phases_and_fractions(copy, tensorrt, monkeypatch):
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.progress.REPORT_EVERY_S", -1)
    states = []
    build_graph(copy, "cam.onnx", "tensorrt", progress=states.append)
    assert [(state.phase, state.fraction) for state in states] == [
        ("Building", 0.0),
        ("Tactics", 0.0),
        ("Tactics", 1 / 8),
        ("Tactics", 2 / 8),
        ("Building", 1 / 4),
        ("Weights", 1 / 4),
    ]
    assert {state.graph for state in states} == {"cam.onnx"}
    assert [state.elapsed_s for state in states] == sorted(state.elapsed_s for state in states)


def test_build_graph_expects_what_the_last_build_took(copy, tensorrt):
    states = []
    path = build_graph(copy, "cam.onnx", "tensorrt", progress=states.append).path
    assert {state.expected_s for state in states} == {None}  # there is no rule for TensorRT
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"build_seconds": 321.0}))
    states.clear()
    build_graph(copy, "cam.onnx", "tensorrt", progress=states.append)
    assert {state.expected_s for state in states} == {321.0}


def test_build_graph_for_rtx_expects_what_the_rule_says(copy, rtx):
    states = []
    build_graph(copy, "cam.onnx", "tensorrt-rtx", compute_capabilities=["8.9"], progress=states.append)
    assert {state.expected_s for state in states} == {4.0}  # 1000 layers


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("from the progress function")])
def test_an_error_in_the_progress_function_ends_the_build(error, copy, tensorrt):
    def progress(state):
        raise error

    with pytest.raises(type(error)):
        build_graph(copy, "cam.onnx", "tensorrt", progress=progress)
    assert tensorrt.told["stopped"] == 0
    assert not (copy.folder / "compiled" / "cam.tensorrt.engine").exists()
