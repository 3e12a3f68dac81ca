"""Every graph of the demo bundle compiles with TensorRT for RTX, ahead of time and without a GPU."""

import shutil
from pathlib import Path

import pytest

from biounet_edge import Bundle, EngineMismatchError, IntegrityError, default_bundle
from biounet_edge.backends import PRECISIONS
from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.backend import TensorRtBackend
from biounet_edge.backends.tensor_rt.building import build_engines, build_graph
from biounet_edge.backends.tensor_rt.engine_files import read_engine
from biounet_edge.backends.tensor_rt.sidecar import Sidecar

tensorrt_rtx = pytest.importorskip(
    "tensorrt_rtx", reason='TensorRT for RTX is not installed: pip install "biounet-edge[tensorrt-rtx]"'
)

DEVICE = "tensorrt-rtx"
ARCHITECTURES = ("8.6", "8.9", "12.0")
DEMO = Bundle.open(default_bundle())


def graphs() -> list[str]:
    """Levels and components, in every precision of the bundle that TensorRT computes in."""
    manifest = DEMO.manifest
    names = [
        spec.graphs[p] for spec in manifest.levels.values() for p in PRECISIONS[DEVICE] if p in spec.graphs
    ]
    return names + [name for p in PRECISIONS[DEVICE] for name in manifest.components.get(p, [])]


@pytest.fixture
def copy(tmp_path: Path) -> Bundle:
    return Bundle.open(
        shutil.copytree(DEMO.folder, tmp_path / "demo", ignore=shutil.ignore_patterns("compiled"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("graph", graphs())
def test_every_graph_compiles_for_every_architecture(graph, tmp_path):
    built = build_graph(DEMO, graph, DEVICE, compute_capabilities=ARCHITECTURES, output=tmp_path)
    assert built.path == tmp_path / f"{Path(graph).stem}.tensorrt-rtx.engine"
    assert built.path.stat().st_size == built.sidecar.engine_bytes > 100_000
    assert built.sidecar == Sidecar.model_validate_json(built.path.with_suffix(".json").read_bytes())
    assert built.sidecar.compute_capabilities == ARCHITECTURES
    assert built.sidecar.library_version == tensorrt_rtx.__version__
    assert built.sidecar.graph_sha256 == DEMO.manifest.files[graph].sha256
    built.path.unlink()  # a fifth of a gigabyte together


@pytest.mark.slow
def test_an_engine_is_refused_on_another_gpu_and_elsewhere_read(copy, monkeypatch):
    build_engines(copy, DEVICE, ["classify"], "float32", compute_capabilities=ARCHITECTURES)
    for architecture in ARCHITECTURES:
        gpu = Gpu("NVIDIA RTX", architecture, "13.0")
        read_engine(copy, "classify", DEVICE, "float32", tensorrt_rtx.__version__, gpu)
    monkeypatch.setattr(
        "biounet_edge.backends.tensor_rt.backend.present_gpu", lambda _: Gpu("NVIDIA H100", "9.0", "13.0")
    )
    with pytest.raises(
        EngineMismatchError,
        match=r"compute capability \(expected 8.6 or 8.9 or 12.0, found 9.0\).*Build it again",
    ):
        TensorRtBackend(copy, "classify", DEVICE, "float32")


def test_progress_follows_the_library(tmp_path):
    states = []
    built = build_graph(
        DEMO,
        "decoder_streaks.onnx",
        DEVICE,
        compute_capabilities=["8.9"],
        output=tmp_path,
        progress=states.append,
    )
    fractions = [state.fraction for state in states]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < 0.1
    assert 0.5 < fractions[-1] <= 1
    assert len({state.phase for state in states}) > 3
    assert states[-1].elapsed_s <= built.sidecar.build_seconds + 0.1


def test_an_interrupted_build_ends_early_and_leaves_nothing(tmp_path):
    phases = []

    def interrupt(state):
        phases.append(state.phase)
        if len(phases) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_graph(DEMO, "decoder_streaks.onnx", DEVICE, compute_capabilities=["8.9"], output=tmp_path,
                    progress=interrupt)  # fmt: skip
    assert len(phases) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept_bytes", [0, 10_000])
def test_a_truncated_graph_is_named(copy, kept_bytes):
    graph = copy.folder / "classify.onnx"
    graph.write_bytes(graph.read_bytes()[:kept_bytes])
    with pytest.raises(
        IntegrityError, match=r"classify\.onnx is no ONNX graph \(.*\): fetch the bundle again"
    ):
        build_graph(copy, "classify.onnx", DEVICE, compute_capabilities=["8.9"])


def test_an_unknown_architecture_is_named_with_those_that_are_known(tmp_path):
    with pytest.raises(
        ValueError, match=r"does not build for compute capability 3.5: it knows .*8.6, 8.9.*12.0"
    ):
        build_graph(DEMO, "fusion.onnx", DEVICE, compute_capabilities=["3.5"], output=tmp_path)
