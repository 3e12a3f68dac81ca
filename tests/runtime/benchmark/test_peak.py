import numpy as np
import onnxruntime
import pytest

from biounet_edge import BackendUnavailableError
from biounet_edge.benchmark import peak
from biounet_edge.benchmark.matmul_graph import encode_matmul
from biounet_edge.benchmark.peak import PeakMeter


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_encode_matmul_writes_a_model_that_multiplies(dtype):
    rng = np.random.default_rng(1)
    weight = (100 * rng.standard_normal((130, 3))).astype(dtype)  # 130 takes two bytes as a varint
    x = rng.integers(0, 256, (2, 130)).astype("float32" if dtype == "float32" else "uint8")
    session = onnxruntime.InferenceSession(encode_matmul(weight, 2), providers=["CPUExecutionProvider"])
    assert [(node.name, node.shape) for node in session.get_inputs()] == [("x", [2, 130])]
    assert [(node.name, node.shape) for node in session.get_outputs()] == [("y", [2, 3])]
    (product,) = session.run(["y"], {"x": x})
    assert product.dtype == ("float32" if dtype == "float32" else "int32")
    np.testing.assert_allclose(product, x.astype(np.float64) @ weight, rtol=1e-5, atol=1e-2)


def test_encode_matmul_refuses_other_types():
    with pytest.raises(TypeError, match="expected a weight of type float32 or int8, got float64"):
        encode_matmul(np.ones((2, 2)), 2)


def test_peak_is_the_fastest_product_of_any_kind_and_size(clock, monkeypatch):
    seconds = {("slow", 1024): 0.5, ("fast", 1024): 0.01, ("fast", 2048): 0.02, ("fast", 4096): 0.4}
    opened = []

    def opener(name: str):
        def open_multiply(size: int):
            opened.append((name, size))

            def multiply() -> None:
                clock.now += seconds[name, size]

            return multiply

        return open_multiply

    kinds = {name: opener(name) for name in ("slow", "fast")}
    monkeypatch.setattr(peak, "_products", lambda device, precision: kinds)
    monkeypatch.setattr(peak, "perf_counter", clock.read)
    meter = PeakMeter("cpu", "float32")
    # Twice the rows take eight times as long: half a second for 1024 rows leaves the larger ones out.
    assert opened == [("slow", 1024), ("fast", 1024), ("fast", 2048), ("fast", 4096)]
    meter.measure()
    assert meter.gflops_per_s == pytest.approx(2 * 2048**3 / 0.02 / 1e9)
    assert meter.method == "fast, 2048 x 2048"
    seconds["fast", 2048] = 0.2
    meter.measure()
    assert meter.method == "fast, 2048 x 2048"  # a slow minute changes nothing
    seconds["fast", 4096] = 0.1
    meter.measure()
    assert meter.gflops_per_s == pytest.approx(2 * 4096**3 / 0.1 / 1e9)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_peak_multiplies_in_onnxruntime(precision, monkeypatch):
    monkeypatch.setattr(peak, "SIZES", (64,))
    meter = PeakMeter("cpu", precision)
    meter.measure()
    assert meter.gflops_per_s > 0
    operator = "MatMul" if precision == "float32" else "MatMulInteger"
    assert meter.method == f"{operator} in onnxruntime {onnxruntime.__version__}, 64 x 64"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_peak_multiplies_in_openvino(precision, monkeypatch):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    if precision == "bfloat16" and "BF16" not in openvino.Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        pytest.skip("this CPU does not multiply bfloat16")
    monkeypatch.setattr(peak, "SIZES", (64,))
    meter = PeakMeter("openvino", precision)
    meter.measure()
    assert meter.gflops_per_s > 0
    assert meter.method.partition(" in OpenVINO ")[0] in ("MatMul", "Convolution")


def test_peak_refuses_a_format_that_openvino_replaces(monkeypatch):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    compile_model = openvino.Core.compile_model

    def compile_in_float32(core, model, device, properties):
        return compile_model(core, model, device, properties | {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino.Core, "compile_model", compile_in_float32)
    with pytest.raises(
        BackendUnavailableError, match=r"peak of openvino in bfloat16 is not measured: .* in f32"
    ):
        PeakMeter("openvino", "bfloat16")


@pytest.mark.parametrize(
    ("device", "precision"), [("cuda", "float32"), ("tensorrt", "float16"), ("cpu", "bfloat16")]
)
def test_peak_says_where_it_cannot_be_measured(device, precision):
    with pytest.raises(
        BackendUnavailableError,
        match=rf"peak of {device} in {precision} is not measured.*on a GPU the copies",
    ):
        PeakMeter(device, precision)
