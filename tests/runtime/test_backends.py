import builtins
import json
import shutil

import numpy as np
import onnxruntime
import pytest

from biounet_edge import BackendUnavailableError, Bundle, InputError, ManifestError
from biounet_edge.backends import open_backend


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_open_backend_runs_on_the_cpu(device, bundle):
    backend = open_backend(bundle, "classify", device)
    assert backend.description == f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"
    outputs = backend.run(bundle.golden().image[:1])
    assert set(outputs) == {"melanoma_probability", "melanoma_contribution", "indicator_probability"}
    backend.close()


@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_run_returns_every_output_in_its_shape(level, bundle):
    backend = open_backend(bundle, level)
    images = bundle.golden().image[:2]
    outputs = backend.run(images)
    assert set(outputs) == set(bundle.manifest.levels[level].outputs)
    assert all(array.dtype == np.float32 for array in outputs.values())
    assert outputs["melanoma_probability"].shape == (2,)
    assert outputs["melanoma_contribution"].shape == outputs["indicator_probability"].shape == (2, 5)
    if level == "full":
        assert outputs["mask_probability"].shape == (2, 5, *images.shape[1:3])
        assert outputs["heatmap"].shape[:2] == outputs["heatmap_scale"].shape == (2, 5)
        for name in ("heatmap", "mask_probability"):
            assert outputs[name].min() >= 0
            assert outputs[name].max() <= 1


def test_melanoma_probability_is_the_sigmoid_of_bias_and_contributions(bundle):
    outputs = open_backend(bundle, "classify").run(bundle.golden().image)
    melanoma = bundle.manifest.melanoma
    logit = melanoma.bias + outputs["melanoma_contribution"].sum(axis=1)
    expected = 1 / (1 + np.exp(-logit / melanoma.temperature))
    # Five float32 log-odds are summed here in another order than in the graph.
    np.testing.assert_allclose(outputs["melanoma_probability"], expected, atol=1e-5)


def test_open_backend_lists_the_devices_there_are(bundle):
    with pytest.raises(InputError, match=r"there is no device 'tpu': choose one of auto, cpu, cuda"):
        open_backend(bundle, "full", "tpu")


def test_open_backend_never_replaces_a_missing_gpu(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendUnavailableError, match=r'needs the CUDAExecutionProvider.*pip install "biounet-edge\[gpu\]"'
    ):
        open_backend(bundle, "full", "cuda")


def test_open_backend_notices_a_silent_substitute(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherProvider"])
    with pytest.raises(
        BackendUnavailableError, match=r"'cpu' was asked for, and onnxruntime chose OtherProv"
    ):
        open_backend(bundle, "full", "cpu")


def test_open_backend_says_how_to_install_onnxruntime(bundle, monkeypatch):
    real_import = builtins.__import__

    def without_onnxruntime(name, *arguments, **options):
        if name == "onnxruntime":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_onnxruntime)
    with pytest.raises(
        BackendUnavailableError, match=r'onnxruntime is not installed: pip install "biounet-edge\[cpu\]"'
    ):
        open_backend(bundle, "full", "cpu")


def unchecked(bundle: Bundle, folder, **changes) -> Bundle:
    """The bundle of a folder without its checksums, to reach the checks behind them."""
    content = json.loads(bundle.manifest.to_json()) | changes
    return Bundle(folder, type(bundle.manifest).model_validate(content), bundle.checksum)


def test_open_backend_says_which_graph_cannot_be_loaded(bundle, bundle_copy, capfd):
    (bundle_copy / "full.onnx").write_bytes(b"this is no graph")
    with pytest.raises(BackendUnavailableError, match=r"cannot load .*full.onnx on 'cpu'"):
        open_backend(unchecked(bundle, bundle_copy), "full", "cpu")
    assert capfd.readouterr().err == ""


def test_open_backend_refuses_a_graph_whose_input_is_not_the_manifests(bundle):
    spec = json.loads(bundle.manifest.to_json())["input"] | {"height": 7}
    with pytest.raises(ManifestError, match=r"full.onnx has the inputs .*and the manifest says .*7, "):
        open_backend(unchecked(bundle, bundle.folder, input=spec), "full")


def test_open_backend_refuses_a_graph_whose_outputs_are_not_the_manifests(bundle, bundle_copy):
    shutil.copy(bundle_copy / "classify.onnx", bundle_copy / "full.onnx")
    with pytest.raises(ManifestError, match=r"full.onnx has the outputs .*and the manifest says"):
        open_backend(unchecked(bundle, bundle_copy), "full")
