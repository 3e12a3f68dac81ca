"""float16 and int8: what is converted, what it costs in agreement, and that a missed gate keeps it out."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.graph_inspection import check_content
from biounet_edge.checks.agreement import GATES, Gates
from biounet_edge.checks.verification import verify
from biounet_edge.errors import ExportError
from export.batch_norm import absorb_batch_norm
from export.bundle import ExportOptions, ExportReport, export_bundle
from export.half import to_float16
from export.parity import open_graph
from export.precision import evenly
from export.quantize import to_int8
from export.trace import finish
from tests.export.conftest import SIZE_PX, rendered_images
from train.data.dataset import normalise

ANYTHING = Gates(24, 1.0, -1.0, -1.0, 0.0, 24 * 5)


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


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    paths = []
    for index, image in enumerate(rendered_images(24, SIZE_PX, seed=6).numpy()):
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image[..., ::-1])
    return paths


@pytest.fixture(scope="module")
def every_precision(
    bundle_folder: Path, photographs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ExportReport]:
    """The small bundle in three precisions. Its random weights would miss the gates, which are opened
    here."""
    out = tmp_path_factory.mktemp("precisions") / "small"
    options = ExportOptions(
        precisions=["float16", "int8"], photographs=photographs, calibration=photographs[:8]
    )
    with pytest.MonkeyPatch.context() as patch:
        for precision in ("float16", "int8"):
            patch.setitem(GATES, precision, ANYTHING)  # type: ignore[misc]
        return out, export_bundle(bundle_folder, out, options)


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


def test_a_bundle_holds_every_precision_that_passed(every_precision: tuple[Path, ExportReport]) -> None:
    out, report = every_precision
    manifest = Bundle.open(out).manifest
    assert report.missed == []
    assert [judgement.precision for judgement in report.judgements] == ["float32", "float16", "int8"]
    for precision in ("float32", "float16", "int8"):
        assert len(manifest.components[precision]) == 11
        assert all(precision in level.graphs for level in manifest.levels.values())
    model = onnx.load(out / "full_int8.onnx", load_external_data=False)
    assert {item.key: item.value for item in model.metadata_props}["precision"] == "int8"


def test_every_graph_of_every_precision_passes_inspection(
    every_precision: tuple[Path, ExportReport],
) -> None:
    bundle = Bundle.open(every_precision[0])
    graphs = [name for name in bundle.manifest.files if name.endswith(".onnx")]
    assert len(graphs) == 3 * (11 + 3)
    for name in graphs:
        check_content(bundle, name)


def test_float16_weights_of_a_half_stored_bundle_cost_no_space(
    every_precision: tuple[Path, ExportReport],
) -> None:
    out, _ = every_precision
    half: set[tuple[int, int]] = set()
    stored: dict[str, set[tuple[int, int]]] = {"full.onnx": set(), "full_float16.onnx": set()}
    for name, places in stored.items():
        for tensor in onnx.load(out / name, load_external_data=False).graph.initializer:
            entry = {item.key: item.value for item in tensor.external_data}
            if entry:
                places.add((int(entry["offset"]), int(entry["length"])))
    half = stored["full_float16.onnx"] - stored["full.onnx"]
    assert sum(length for _, length in half) < 0.01 * (out / "weights.bin").stat().st_size


def test_parity_json_and_card_have_the_table(every_precision: tuple[Path, ExportReport]) -> None:
    out, report = every_precision
    parity = json.loads((out / "parity.json").read_text(encoding="utf-8"))
    assert set(parity["photographs"]) == {"float32", "float16", "int8"}
    assert parity["photographs"]["float32"]["agreement"]["images"] == 24
    assert parity["photographs"]["float32"]["gates"]["melanoma_flips"] == 0
    assert len(parity["golden"]) == len(report.parity)
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "run with ONNX Runtime on 24 photographs" in card
    assert card.index("| int8 |") < card.index("## Held out")


def test_exporting_a_bundle_again_keeps_what_it_says(
    bundle_folder: Path, every_precision: tuple[Path, ExportReport]
) -> None:
    first, again = Bundle.open(bundle_folder), Bundle.open(every_precision[0])
    same = ("name", "version", "notice", "input", "outputs", "melanoma", "operating_points", "training")
    assert all(getattr(first.manifest, part) == getattr(again.manifest, part) for part in same)
    for name, values in first.golden().outputs.items():
        np.testing.assert_array_equal(values, again.golden().outputs[name])
    graph = "encoder_streaks.onnx"
    assert hashlib.sha256((first.folder / graph).read_bytes()).digest() != b""
    assert len(onnx.load(first.folder / graph).graph.node) == len(onnx.load(again.folder / graph).graph.node)


def test_float16_passes_verify_where_a_device_computes_in_it(
    every_precision: tuple[Path, ExportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", ANYTHING)
    report = verify(Bundle.open(every_precision[0]), "cpu", "int8")
    assert report.passed, report.problems
    assert report.precision == "int8"


def test_a_precision_that_misses_a_gate_is_not_written(
    bundle_folder: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "float16", Gates(0, -1.0, 0.0, 0.0, 0.0))  # type: ignore[misc]
    options = ExportOptions(precisions=["float16"], photographs=photographs)
    report = export_bundle(bundle_folder, tmp_path / "small", options)
    assert [judgement.precision for judgement in report.missed] == ["float16"]
    assert not list((tmp_path / "small").glob("*float16*"))
    assert set(Bundle.open(tmp_path / "small").manifest.components) == {"float32"}
    parity = json.loads((tmp_path / "small" / "parity.json").read_text(encoding="utf-8"))
    assert parity["photographs"]["float16"]["passed"] is False
    size = (tmp_path / "small" / "weights.bin").stat().st_size
    assert size == (bundle_folder / "weights.bin").stat().st_size


def test_a_precision_wants_photographs(bundle_folder: Path, photographs: list[Path], tmp_path: Path) -> None:
    options = ExportOptions(precisions=["float16"], photographs=photographs[:23])
    with pytest.raises(
        ExportError, match=r"at least 24 photographs to judge float16 on \(--images\), got 23"
    ):
        export_bundle(bundle_folder, tmp_path / "small", options)
    options = ExportOptions(precisions=["int8"], photographs=photographs, calibration=photographs[:3])
    with pytest.raises(ExportError, match=r"at least 8 photographs to calibrate int8 with .*, got 3"):
        export_bundle(bundle_folder, tmp_path / "small", options)
    assert list(tmp_path.iterdir()) == []


def test_evenly_spreads_over_all_files() -> None:
    paths = [Path(str(number)) for number in range(10)]
    assert evenly(paths, 32) == paths
    assert evenly(paths, 4) == [paths[0], paths[3], paths[6], paths[9]]
    assert evenly([], 4) == []
