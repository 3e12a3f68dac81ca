import json
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, InputError, VerificationError
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend
from biounet_edge.backends.open_vino import OpenVinoBackend
from biounet_edge.checks.agreement import GATES, AgreementMeter
from biounet_edge.checks.selection import open_backend

from .bundles import copy_without_cache, unchecked

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="this CPU does not multiply bfloat16")


@pytest.fixture
def fresh_bundle(bundle, tmp_path):
    """A copy of which nothing was compiled."""
    return copy_without_cache(bundle, tmp_path / "bundle")


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
def test_bfloat16_agrees_with_onnxruntime(bundle, bfloat16_outputs, reference):
    meter = AgreementMeter(bundle.manifest)
    meter.add(bfloat16_outputs, reference)
    if GATES["bfloat16"].problems(meter.result()):  # not every model bears it: then nobody is given it
        with pytest.raises(VerificationError, match="does not compute in bfloat16"):
            open_backend(bundle, "full", "openvino", "bfloat16")
    else:
        open_backend(bundle, "full", "openvino", "bfloat16").backend.close()
    # Seven bits of mantissa: with the demo, which is refused, probabilities moved by up to 3.4e-2.
    for name, tolerance in {
        "melanoma_probability": 5e-2,
        "melanoma_contribution": 5e-2,
        "indicator_probability": 5e-2,
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
    # Two libraries that sum in different orders: differences were 1e-6, of heatmaps 6e-4, because their terms
    # cancel. Masks are computed from heatmaps behind ReLUs that may switch, which moves pixels at their
    # borders, by up to 0.1 and by 1e-3 in the mean over a mask.
    tolerances = {"heatmap": 2e-3, "heatmap_scale": 2e-3}
    for name, array in outputs.items():
        assert array.dtype == np.float32
        assert array.flags.owndata
        if name == "mask_probability":
            assert array.shape == reference[name].shape
            difference = np.abs(array - reference[name])
            assert difference.mean(axis=(2, 3)).max() < 2e-3
            assert (difference < 2e-2).mean() > 0.998
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


def test_outputs_that_the_compiler_joins_with_others_are_found(bundle, bundle_copy, golden):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = bundle_copy / "classify.onnx"
    model = onnx.load(path, load_external_data=False)
    (producer,) = (node for node in model.graph.node if "melanoma_contribution" in node.output)
    # OpenVINO takes the Identity out and gives its port both names, in the order of the alphabet.
    producer.output[0] = "a_joined_value"
    joined = onnx.helper.make_node("Identity", ["a_joined_value"], ["melanoma_contribution"])
    model.graph.node.insert(list(model.graph.node).index(producer) + 1, joined)
    onnx.save(model, path)
    backend = OpenVinoBackend(unchecked(bundle, bundle_copy), "classify", "openvino", "float32")
    contributions = backend.run(golden.image)["melanoma_contribution"]
    assert np.abs(contributions - golden.outputs["melanoma_contribution"]).max() < 1e-4
