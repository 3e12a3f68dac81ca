"""Components in float16 and int8: what is converted, and what it costs in agreement."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from biounet_edge.errors import ExportError
from export.batch_norm import absorb_batch_norm
from export.half import to_float16
from export.parity import open_graph
from export.precision import evenly
from export.quantize import to_int8
from export.trace import finish
from tests.export.conftest import SIZE_PX, rendered_images
from train.data.dataset import normalise


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return normalise(rendered_images(8, SIZE_PX, seed=5)).numpy()


@pytest.fixture(scope="module")
def trained() -> ir.Model:
    """A trained ResNet-50: on random weights, half of the heatmaps would be rounding."""
    return ir.load(Path(__file__).parent / "data" / "trained_encoder.onnx")


@pytest.fixture(scope="module")
def trained_pixels() -> np.ndarray:
    return normalise(rendered_images(8, 128, seed=5)).numpy()


def typical_correlation(actual: np.ndarray, expected: np.ndarray) -> float:
    """Median over images and blocks of the correlation of heatmaps (N, 12, S, S)."""
    a, b = (maps.reshape(*maps.shape[:2], -1) for maps in (actual, expected))
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.median((a * b).sum(-1)[lengths > 0] / lengths[lengths > 0]))


def _operator(value: ir.Value | None) -> str | None:
    """Operator that computes a value, None for inputs and weights."""
    producer = None if value is None else value.producer()
    return None if producer is None else producer.op_type


def test_folding_batch_norm_changes_nothing(components: dict[str, ir.Model], pixels: np.ndarray) -> None:
    model = components["encoder_streaks"].clone()
    folded = absorb_batch_norm(model.graph)
    counts = Counter(node.op_type for node in model.graph)
    assert len(folded) == 53  # every convolution of a ResNet-50
    assert "BatchNormalization" not in counts
    actual = open_graph(finish(model))(pixels=pixels)
    expected = open_graph(components["encoder_streaks"])(pixels=pixels)
    np.testing.assert_allclose(actual["features"], expected["features"], rtol=1e-4, atol=1e-5)
    assert "BatchNormalization" in {node.op_type for node in components["encoder_streaks"].graph}


def test_float16_computes_convolutions_in_half_and_sums_in_single(components: dict[str, ir.Model]) -> None:
    model = to_float16(components["encoder_streaks"])
    types = Counter((node.op_type, node.outputs[0].dtype) for node in model.graph)
    for operator in ("Conv", "ConvTranspose", "MaxPool"):
        assert {dtype for name, dtype in types if name == operator} == {ir.DataType.FLOAT16}
    for operator in ("MatMul", "Gemm", "ReduceMean", "Resize", "ReduceMax", "Div"):
        assert {dtype for name, dtype in types if name == operator} == {ir.DataType.FLOAT}
    assert {value.dtype for value in (*model.graph.inputs, *model.graph.outputs)} == {ir.DataType.FLOAT}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)  # types and shapes fit


def test_float16_leaves_the_float32_component_as_it_was(components: dict[str, ir.Model]) -> None:
    before = ir.to_proto(components["decoder_streaks"]).SerializeToString()
    to_float16(components["decoder_streaks"])
    assert ir.to_proto(components["decoder_streaks"]).SerializeToString() == before


def test_float16_agrees_with_float32(trained: ir.Model, trained_pixels: np.ndarray) -> None:
    expected = open_graph(trained)(pixels=trained_pixels)
    actual = open_graph(to_float16(trained))(pixels=trained_pixels)
    # float16 has 11 bits: 5e-4 per rounding, some fifty layers, most of it averaged out.
    tolerance = 5e-3 * np.abs(expected["logits"]).max()
    assert 0 < np.abs(actual["logits"] - expected["logits"]).max() < tolerance
    assert typical_correlation(actual["heatmaps"], expected["heatmaps"]) > 0.99
    assert typical_correlation(actual["heatmaps"], expected["heatmaps"][::-1]) < 0.9  # other images' heatmaps


def test_int8_quantizes_forward_and_backward_convolutions(
    components: dict[str, ir.Model], pixels: np.ndarray
) -> None:
    model = to_int8(components["encoder_streaks"], pixels)
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    quantized = [
        node
        for node in convolutions
        if all(_operator(value) == "DequantizeLinear" for value in node.inputs[:2])
    ]
    # All of a ResNet-50 but the stem: 52 forward; backward those of stride 1 down to the first target.
    assert len(convolutions) - len(quantized) == 1
    assert len(quantized) > 52 + 30
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_int8_agrees_with_float32(trained: ir.Model, trained_pixels: np.ndarray) -> None:
    expected = open_graph(trained)(pixels=trained_pixels)
    actual = open_graph(to_int8(trained, trained_pixels))(pixels=trained_pixels)
    # 8 bits: 4e-3 of the range per rounding.
    tolerance = 0.1 * np.abs(expected["logits"]).max()
    assert 0 < np.abs(actual["logits"] - expected["logits"]).max() < tolerance
    own = typical_correlation(actual["heatmaps"], expected["heatmaps"])
    assert own > 0.85
    assert own > typical_correlation(actual["heatmaps"], expected["heatmaps"][::-1]) + 0.2  # other images'


def test_int8_wants_enough_examples(components: dict[str, ir.Model], pixels: np.ndarray) -> None:
    with pytest.raises(ExportError, match="expected at least 8 images to calibrate int8 with, got 7"):
        to_int8(components["decoder_streaks"], pixels[:7])


def test_evenly_spreads_over_all_files() -> None:
    paths = [Path(str(number)) for number in range(10)]
    assert evenly(paths, 32) == paths
    assert evenly(paths, 4) == [paths[0], paths[3], paths[6], paths[9]]
    assert evenly([], 4) == []
