import json
import shutil
import sys

import pytest

from biounet_edge import BackendUnavailableError, InputError, ManifestError
from biounet_edge.backends.open_vino import OpenVinoBackend

from .bundles import unchecked

openvino = pytest.importorskip("openvino", reason="openvino is not installed")


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
    graph = bundle_copy / "cam.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"And", b"Mul"))  # of truth values, which is not defined
    with pytest.raises(BackendUnavailableError, match=r"openvino .* cannot compile .*cam.onnx for CPU:"):
        OpenVinoBackend(unchecked(bundle, bundle_copy), "cam", "openvino", "float32")


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
