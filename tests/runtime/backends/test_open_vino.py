import json
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, Bundle, InputError, ManifestError, VerificationError
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend
from biounet_edge.backends.open_vino import OpenVinoBackend
from biounet_edge.checks.agreement import GATES, AgreementMeter
from biounet_edge.checks.selection import open_backend

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="this CPU does not multiply bfloat16")


def unchecked(bundle: Bundle, folder, **changes) -> Bundle:
    """The bundle of a folder without its checksums, to reach the checks behind them."""
    content = json.loads(bundle.manifest.to_json()) | changes
    return Bundle(folder, type(bundle.manifest).model_validate(content), bundle.checksum)


def copy_without_cache(bundle: Bundle, folder) -> Bundle:
    return Bundle.open(shutil.copytree(bundle.folder, folder, ignore=shutil.ignore_patterns("compiled")))


@pytest.fixture(scope="module")
def own_bundle(bundle, tmp_path_factory):
    """A copy, beside which a model cache may be written."""
    return copy_without_cache(bundle, tmp_path_factory.mktemp("openvino") / "bundle")


@pytest.fixture
def fresh_bundle(bundle, tmp_path):
    """A copy of which nothing was compiled."""
    return copy_without_cache(bundle, tmp_path / "bundle")


@pytest.fixture(scope="module")
def golden(bundle):
    return bundle.golden()


@pytest.fixture(scope="module")
def reference(bundle, golden):
    """What ONNX Runtime computes in float32."""
    return OnnxRuntimeBackend(bundle, "full", "cpu", "float32").run(golden.image)


@pytest.fixture(scope="module")
def classifier(own_bundle):
    return OpenVinoBackend(own_bundle, "classify", "openvino", "float32")


@pytest.fixture(scope="module")
def bfloat16_outputs(own_bundle, golden):
    """At level full; opened before any float32 backend of that level, so that it writes the model cache."""
    return OpenVinoBackend(own_bundle, "full", "openvino", "bfloat16").run(golden.image)


def test_a_backend_says_what_it_is(classifier):
    assert classifier.description.startswith(f"openvino {openvino.__version__.split('-')[0]}, ")
    assert classifier.description.endswith(", f32, 2 at once")
    assert (classifier.device, classifier.precision) == ("openvino", "float32")


@needs_bfloat16
def test_bfloat16_agrees_with_onnxruntime(embedded, bfloat16_outputs, reference):
    meter = AgreementMeter(embedded.manifest)
    meter.add(bfloat16_outputs, reference)
    if GATES["bfloat16"].problems(meter.result()):  # not every model bears it: then nobody is given it
        with pytest.raises(VerificationError, match="does not compute in bfloat16"):
            open_backend(embedded, "full", "openvino", "bfloat16")
    else:
        open_backend(embedded, "full", "openvino", "bfloat16").backend.close()
    # Seven bits of mantissa: with the demo, probabilities moved by up to 1.6e-2.
    for name, tolerance in {
        "melanoma_probability": 2e-2,
        "melanoma_contribution": 5e-2,
        "indicator_probability": 2e-2,
    }.items():
        np.testing.assert_allclose(bfloat16_outputs[name], reference[name], atol=tolerance)
    assert np.abs(bfloat16_outputs["melanoma_contribution"] - reference["melanoma_contribution"]).max() > 1e-4


def test_float32_is_onnxruntimes_though_bfloat16_wrote_the_model_cache(
    own_bundle, golden, reference, request
):
    if BFLOAT16:
        request.getfixturevalue("bfloat16_outputs")
    outputs = OpenVinoBackend(own_bundle, "full", "openvino", "float32").run(golden.image)
    assert list(outputs) == own_bundle.manifest.levels["full"].outputs
    # Two libraries that sum in different orders: differences were 1e-6, of heatmaps 1e-5. Masks are computed
    # from heatmaps behind ReLUs that may switch, which moves pixels at their borders: 5e-4 in the mean.
    tolerances = {"heatmap": 1e-4}
    for name, array in outputs.items():
        assert array.dtype == np.float32
        assert array.flags.owndata
        if name == "mask_probability":
            assert array.shape == reference[name].shape
            difference = np.abs(array - reference[name])
            assert difference.mean(axis=(2, 3)).max() < 5e-4
            assert (difference < 2e-2).mean() > 0.999
            continue
        np.testing.assert_allclose(array, reference[name], rtol=1e-4, atol=tolerances.get(name, 2e-5))


def test_heatmaps_speak_of_their_image(own_bundle, golden):
    heatmaps = OpenVinoBackend(own_bundle, "cam", "openvino", "float32").run(golden.image[:2])["heatmap"]
    shown = golden.outputs["heatmap"][:2].any(axis=(2, 3))
    assert shown.any(axis=1).all()
    np.testing.assert_array_equal(heatmaps.any(axis=(2, 3)), shown)
    assert not np.allclose(heatmaps[0], heatmaps[1], atol=1e-2)


def test_a_batch_equals_its_single_images_in_order(classifier, golden):
    images = np.concatenate([golden.image, golden.image[::-1]])
    together = classifier.run(images)
    for row, image in enumerate(images):
        for name, array in classifier.run(image[np.newaxis]).items():
            np.testing.assert_array_equal(array[0], together[name][row])
    assert not np.allclose(together["melanoma_contribution"][0], together["melanoma_contribution"][1])


def test_run_takes_images_that_are_neither_contiguous_nor_writable(classifier, golden):
    mirrored = golden.image[:2, :, ::-1]
    mirrored.flags.writeable = False
    expected = classifier.run(mirrored.copy())
    for name, array in classifier.run(mirrored).items():
        np.testing.assert_array_equal(array, expected[name])


def test_run_may_be_called_from_several_threads(classifier, golden):
    images = golden.image
    expected = classifier.run(images)
    rows = list(range(len(images) - 1)) * 6
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda row: classifier.run(images[row : row + 2]), rows))
    for row, outputs in zip(rows, results, strict=True):
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, expected[name][row : row + 2])


def test_results_are_the_callers_own(classifier, golden):
    first = classifier.run(golden.image[:1])
    kept = {name: array.copy() for name, array in first.items()}
    second = classifier.run(golden.image[1:2])
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        array += 1
    assert not np.allclose(second["melanoma_contribution"], kept["melanoma_contribution"])
    for name, array in classifier.run(golden.image[:1]).items():
        np.testing.assert_array_equal(array, kept[name])


def test_a_large_model_computes_one_image_at_once(own_bundle, golden, classifier):
    content = json.loads(own_bundle.manifest.to_json())
    content["files"]["weights.bin"]["bytes"] = 64 << 20
    backend = OpenVinoBackend(
        unchecked(own_bundle, own_bundle.folder, **content), "classify", "openvino", "float32"
    )
    assert backend.description.endswith(", 1 at once")
    with ThreadPoolExecutor(2) as threads:
        for outputs in threads.map(backend.run, [golden.image] * 2):
            for name, array in classifier.run(golden.image).items():
                np.testing.assert_allclose(outputs[name], array, atol=1e-5)


def test_int8_runs_the_int8_graph_with_bfloat16_for_the_rest(own_bundle, golden):
    content = json.loads(own_bundle.manifest.to_json())
    content["levels"]["classify"]["graphs"]["int8"] = "cam.onnx"
    content["levels"]["classify"]["outputs"] = content["levels"]["cam"]["outputs"]
    bundle = unchecked(own_bundle, own_bundle.folder, **content)
    backend = OpenVinoBackend(bundle, "classify", "openvino", "int8")
    assert backend.precision == "int8"
    assert ", bf16, " in backend.description if BFLOAT16 else ", f32, " in backend.description
    assert "heatmap" in backend.run(golden.image[:1])


def test_what_was_compiled_is_kept_and_used(fresh_bundle, golden):
    expected = OpenVinoBackend(fresh_bundle, "classify", "openvino", "float32").run(golden.image)
    (blob,) = (fresh_bundle.folder / "compiled" / "openvino").iterdir()
    written = blob.stat().st_mtime_ns
    for name, array in (
        OpenVinoBackend(fresh_bundle, "classify", "openvino", "float32").run(golden.image).items()
    ):
        np.testing.assert_array_equal(array, expected[name])
    assert blob.stat().st_mtime_ns == written


def test_a_damaged_model_cache_is_compiled_anew(fresh_bundle, golden):
    expected = OpenVinoBackend(fresh_bundle, "classify", "openvino", "float32").run(golden.image)
    (blob,) = (fresh_bundle.folder / "compiled" / "openvino").iterdir()
    content = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(content[: len(content) // 2])
    for name, array in (
        OpenVinoBackend(fresh_bundle, "classify", "openvino", "float32").run(golden.image).items()
    ):
        np.testing.assert_array_equal(array, expected[name])


def test_a_bundle_that_cannot_be_written_has_no_model_cache(fresh_bundle, golden, monkeypatch):
    def refuse(**settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    backend = OpenVinoBackend(fresh_bundle, "classify", "openvino", "float32")
    backend.run(golden.image[:1])
    assert list((fresh_bundle.folder / "compiled" / "openvino").iterdir()) == []


def test_close_may_be_called_twice_and_run_not_again(own_bundle, golden):
    backend = OpenVinoBackend(own_bundle, "classify", "openvino", "float32")
    backend.close()
    backend.close()
    with pytest.raises(BackendUnavailableError, match="this OpenVINO backend is closed: open another"):
        backend.run(golden.image[:1])


def test_run_refuses_other_images(classifier, golden):
    with pytest.raises(InputError, match=r"expected images of shape \(N, .* got .* float64"):
        classifier.run(golden.image.astype(float))


def test_run_says_what_failed(classifier, golden, monkeypatch):
    def fail(self, inputs, **settings):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(openvino.InferRequest, "infer", fail)
        for images in (golden.image[:1], golden.image):
            with pytest.raises(BackendUnavailableError, match=r"openvino .* 2 at once failed: out of memory"):
                classifier.run(images)
    classifier.run(golden.image)  # no request was lost


def test_a_missing_openvino_is_named_with_its_remedy(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        BackendUnavailableError,
        match=r"device 'openvino' needs openvino, which cannot be imported.*\"biounet-edge\[openvino\]\"",
    ):
        OpenVinoBackend(bundle, "classify", "openvino", "float32")


class OtherCore(openvino.Core):
    """A machine whose CPU does not multiply bfloat16 and that has no GPU."""

    @property
    def available_devices(self):
        return ["CPU", "NPU"]

    def get_property(self, device, name):
        if device == "GPU":
            raise RuntimeError("libOpenCL.so.1: cannot open shared object file")
        return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else super().get_property(device, name)


def test_a_missing_gpu_is_never_replaced(bundle, monkeypatch):
    monkeypatch.setattr(openvino, "Core", OtherCore)
    with pytest.raises(
        BackendUnavailableError,
        match=r"'openvino-gpu' needs OpenVINO's device GPU, and OpenVINO finds CPU, NPU: install the GPU's "
        r"driver with its OpenCL runtime, or choose another device \(libOpenCL",
    ):
        OpenVinoBackend(bundle, "classify", "openvino-gpu", "float32")


def test_bfloat16_is_refused_where_the_cpu_has_none(bundle, monkeypatch):
    monkeypatch.setattr(openvino, "Core", OtherCore)
    with pytest.raises(
        BackendUnavailableError,
        match=r"cannot compute in bfloat16: this CPU has neither AMX nor AVX512-BF16 "
        r"\(OpenVINO lists FP32, INT8\). Choose int8 or float32",
    ):
        OpenVinoBackend(bundle, "classify", "openvino", "bfloat16")


def test_int8_leaves_the_rest_in_float32_where_the_cpu_has_no_bfloat16(own_bundle, monkeypatch):
    monkeypatch.setattr(openvino, "Core", OtherCore)
    content = json.loads(own_bundle.manifest.to_json())
    content["levels"]["classify"]["graphs"]["int8"] = "classify.onnx"
    bundle = unchecked(own_bundle, own_bundle.folder, **content)
    assert ", f32, " in OpenVinoBackend(bundle, "classify", "openvino", "int8").description


def test_another_precision_than_asked_for_is_noticed(own_bundle, monkeypatch):
    real = openvino.CompiledModel.get_property

    def get_property(self, name):
        return openvino.Type.f16 if name == "INFERENCE_PRECISION_HINT" else real(self, name)

    monkeypatch.setattr(openvino.CompiledModel, "get_property", get_property)
    with pytest.raises(
        BackendUnavailableError, match=r"was asked for f32 on CPU and computes in f16: choose another precis"
    ):
        OpenVinoBackend(own_bundle, "classify", "openvino", "float32")


@pytest.mark.parametrize(
    ("device", "precision", "problem"),
    [
        ("openvino", "float16", "device 'openvino' computes in .*, and not in float16"),
        ("openvino-gpu", "int8", "device 'openvino-gpu' computes in float16 and float32, and not in int8"),
        ("cpu", "float32", "OpenVINO runs on openvino and openvino-gpu, and not on device 'cpu'"),
    ],
)
def test_what_openvino_does_not_compute_in_is_refused(device, precision, problem, bundle):
    with pytest.raises(InputError, match=problem):
        OpenVinoBackend(bundle, "classify", device, precision)


def test_a_graph_that_cannot_be_compiled_is_named(bundle, bundle_copy):
    graph = bundle_copy / "classify.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"Conv", b"Vonc"))  # an operator that does not exist
    with pytest.raises(BackendUnavailableError, match=r"openvino .* cannot compile .*classify.onnx for CPU:"):
        OpenVinoBackend(unchecked(bundle, bundle_copy), "classify", "openvino", "float32")


def test_a_graph_whose_input_is_not_the_manifests_is_refused(own_bundle):
    spec = json.loads(own_bundle.manifest.to_json())["input"] | {"height": 7}
    with pytest.raises(ManifestError, match=r"classify.onnx has the inputs .*and the manifest says .*\(7, "):
        OpenVinoBackend(
            unchecked(own_bundle, own_bundle.folder, input=spec), "classify", "openvino", "float32"
        )


def test_a_graph_whose_outputs_are_not_the_manifests_is_refused(bundle, bundle_copy):
    shutil.copy(bundle_copy / "classify.onnx", bundle_copy / "cam.onnx")
    with pytest.raises(ManifestError, match=r"cam.onnx has the outputs .*and the manifest says"):
        OpenVinoBackend(unchecked(bundle, bundle_copy), "cam", "openvino", "float32")


def test_outputs_that_the_compiler_joins_with_others_are_found(bundle, bundle_copy, golden):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = bundle_copy / "classify.onnx"
    model = onnx.load(path, load_external_data=False)
    (producer,) = (node for node in model.graph.node if "melanoma_contribution" in node.output)
    # OpenVINO takes the Identity out and gives its port both names, in the order of the alphabet.
    producer.output[0] = "a_joined_value"
    model.graph.node.append(onnx.helper.make_node("Identity", ["a_joined_value"], ["melanoma_contribution"]))
    onnx.save(model, path)
    backend = OpenVinoBackend(unchecked(bundle, bundle_copy), "classify", "openvino", "float32")
    contributions = backend.run(golden.image)["melanoma_contribution"]
    assert np.abs(contributions - golden.outputs["melanoma_contribution"]).max() < 1e-4
