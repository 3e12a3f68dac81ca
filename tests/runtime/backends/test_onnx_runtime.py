import json
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from biounet_edge import BackendUnavailableError, InputError, ManifestError
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend

from .bundles import unchecked


@pytest.fixture(scope="module")
def classifier(bundle):
    return OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")


def test_a_backend_says_what_it_is(classifier):
    assert classifier.description == f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"
    assert (classifier.device, classifier.precision) == ("cpu", "float32")


@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_run_returns_every_output_in_its_shape(level, bundle):
    images = bundle.golden().image[:2]
    outputs = OnnxRuntimeBackend(bundle, level, "cpu", "float32").run(images)
    assert list(outputs) == bundle.manifest.levels[level].outputs
    assert all(array.dtype == np.float32 for array in outputs.values())
    assert outputs["melanoma_probability"].shape == (2,)
    assert outputs["melanoma_contribution"].shape == outputs["indicator_probability"].shape == (2, 5)
    if level == "full":
        assert outputs["mask_probability"].shape == (2, 5, *images.shape[1:3])
        assert outputs["heatmap"].shape[:2] == outputs["heatmap_scale"].shape == (2, 5)
        for name in ("heatmap", "mask_probability"):
            assert outputs[name].min() >= 0
            assert outputs[name].max() <= 1


def test_int8_runs_the_int8_graph(bundle, bundle_copy):
    content = json.loads(bundle.manifest.to_json())
    content["levels"]["classify"]["graphs"]["int8"] = "cam.onnx"
    content["levels"]["classify"]["outputs"] = content["levels"]["cam"]["outputs"]
    backend = OnnxRuntimeBackend(unchecked(bundle, bundle_copy, **content), "classify", "cpu", "int8")
    assert backend.precision == "int8"
    assert "heatmap" in backend.run(bundle.golden().image[:1])


def test_melanoma_probability_is_the_sigmoid_of_bias_and_contributions(bundle, classifier):
    outputs = classifier.run(bundle.golden().image)
    melanoma = bundle.manifest.melanoma
    logit = melanoma.bias + outputs["melanoma_contribution"].sum(axis=1)
    expected = 1 / (1 + np.exp(-logit / melanoma.temperature))
    # Five float32 log-odds are summed here in another order than in the graph.
    np.testing.assert_allclose(outputs["melanoma_probability"], expected, atol=1e-5)


def test_a_batch_equals_its_single_images(bundle, classifier):
    images = bundle.golden().image[:3]
    together = classifier.run(images)
    for row, image in enumerate(images):
        for name, array in classifier.run(image[np.newaxis]).items():
            np.testing.assert_allclose(array[0], together[name][row], atol=1e-5)


def test_run_takes_images_that_are_not_contiguous(bundle, classifier):
    images = bundle.golden().image[:2]
    mirrored = images[:, :, ::-1]
    assert not mirrored.flags.c_contiguous
    expected = classifier.run(mirrored.copy())
    for name, array in classifier.run(mirrored).items():
        np.testing.assert_array_equal(array, expected[name])


def test_run_may_be_called_from_several_threads(bundle, classifier):
    images = bundle.golden().image
    expected = [classifier.run(images[row : row + 1]) for row in range(len(images))]
    rows = list(range(len(images))) * 4
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda row: classifier.run(images[row : row + 1]), rows))
    for row, outputs in zip(rows, results, strict=True):
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, expected[row][name])


def test_results_are_the_callers_own(bundle, classifier):
    images = bundle.golden().image[:1]
    first = classifier.run(images)
    kept = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array += 1
    for name, array in classifier.run(images).items():
        np.testing.assert_array_equal(array, kept[name])


def test_close_may_be_called_twice_and_run_not_again(bundle):
    backend = OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")
    backend.close()
    backend.close()
    with pytest.raises(BackendUnavailableError, match=r"this ONNX Runtime backend is closed: open another"):
        backend.run(bundle.golden().image[:1])


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:, 1:],
        lambda images: images.astype(np.float32),
        lambda images: images[:0],
        lambda images: images[0],
    ],
    ids=["another size", "another type", "none", "no batch"],
)
def test_run_refuses_other_images(change, bundle, classifier):
    images = change(bundle.golden().image[:2])
    size = f"{bundle.manifest.input.height}, {bundle.manifest.input.width}, 3"
    problem = f"expected images of shape (N, {size}) and type uint8 with N from 1 on, got {images.shape} "
    with pytest.raises(InputError, match=re.escape(problem + str(images.dtype))):
        classifier.run(images)


def test_run_says_what_failed(bundle, monkeypatch):
    def fail(self, outputs, feed):
        raise RuntimeError("Failed to allocate memory")

    backend = OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(
        BackendUnavailableError,
        match=r"CPUExecutionProvider failed on a batch of 2: Failed to allocate.*smaller batch helps",
    ):
        backend.run(bundle.golden().image[:2])


@pytest.fixture
def sessions(monkeypatch):
    """The options that sessions are made with."""
    made = []
    real = onnxruntime.InferenceSession

    def session(graph, options, **settings):
        made.append(options)
        return real(graph, options, **settings)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return made


def test_no_thread_spins(bundle, sessions):
    OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")
    assert sessions[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("allowed", "threads"), [({0}, 1), (set(range(4)), 0)])
def test_threads_are_as_many_as_the_cores_that_may_be_used(allowed, threads, bundle, sessions, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed, raising=False)
    OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")
    assert sessions[0].intra_op_num_threads == threads


def test_a_missing_onnxruntime_is_named_with_its_remedy(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        BackendUnavailableError,
        match=r"'cpu' needs onnxruntime, which cannot be imported.*pip install \"biounet-edge\[cpu\]\"",
    ):
        OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")


def test_a_missing_gpu_is_never_replaced(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendUnavailableError,
        match=r"'cuda' needs the CUDAExecutionProvider, and this onnxruntime has CPUExecutionProvider: "
        r"pip install \"biounet-edge\[gpu\]\" .*uninstall one first",
    ):
        OnnxRuntimeBackend(bundle, "full", "cuda", "float32")


def test_a_silent_substitute_is_noticed(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherProvider"])
    with pytest.raises(
        BackendUnavailableError,
        match=r"'cpu' was asked for, and onnxruntime .* made a session with OtherProvider instead of "
        r"CPUExecutionProvider: install onnxruntime anew",
    ):
        OnnxRuntimeBackend(bundle, "classify", "cpu", "float32")


@pytest.mark.parametrize(
    ("device", "precision", "problem"),
    [
        ("cpu", "float16", "device 'cpu' computes in float32 and int8, and not in float16"),
        ("cpu", "bfloat16", "device 'cpu' computes in float32 and int8, and not in bfloat16"),
        ("cuda", "int8", "device 'cuda' computes in float16 and float32, and not in int8"),
        ("openvino", "float32", "onnxruntime runs on cpu and cuda, and not on device 'openvino'"),
    ],
)
def test_what_onnxruntime_does_not_compute_in_is_refused(device, precision, problem, bundle):
    with pytest.raises(InputError, match=problem):
        OnnxRuntimeBackend(bundle, "full", device, precision)


def test_a_graph_that_cannot_be_loaded_is_named(bundle, bundle_copy, capfd):
    graph = bundle_copy / "full.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"And", b"Mul"))  # of truth values, which is not defined
    with pytest.raises(BackendUnavailableError, match=r"cannot load .*full.onnx on 'cpu'"):
        OnnxRuntimeBackend(unchecked(bundle, bundle_copy), "full", "cpu", "float32")
    assert capfd.readouterr() == ("", "")


def test_a_graph_whose_input_is_not_the_manifests_is_refused(bundle):
    spec = json.loads(bundle.manifest.to_json())["input"] | {"height": 7}
    with pytest.raises(ManifestError, match=r"full.onnx has the inputs .*and the manifest says .*\(7, "):
        OnnxRuntimeBackend(unchecked(bundle, bundle.folder, input=spec), "full", "cpu", "float32")


def test_a_graph_whose_outputs_are_not_the_manifests_is_refused(bundle, bundle_copy):
    shutil.copy(bundle_copy / "classify.onnx", bundle_copy / "full.onnx")
    with pytest.raises(ManifestError, match=r"full.onnx has the outputs .*and the manifest says"):
        OnnxRuntimeBackend(unchecked(bundle, bundle_copy), "full", "cpu", "float32")
