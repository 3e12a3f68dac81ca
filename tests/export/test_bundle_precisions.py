"""A bundle in float16 and int8: what is in it, and that a missed gate keeps a precision out."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.graph_inspection import check_content
from biounet_edge.checks.agreement import GATES, Gates
from biounet_edge.checks.verification import verify
from biounet_edge.errors import ExportError
from export.bundle import ExportOptions, ExportReport, export_bundle
from tests.export.conftest import SIZE_PX, rendered_images

ANYTHING = Gates(24, 1.0, -1.0, -1.0, 0.0, 24 * 5)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_graph_of_every_precision_passes_inspection(
    every_precision: tuple[Path, ExportReport],
) -> None:
    bundle = Bundle.open(every_precision[0])
    graphs = [name for name in bundle.manifest.files if name.endswith(".onnx")]
    assert len(graphs) == 3 * (11 + 3)
    for name in graphs:
        check_content(bundle, name)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_float16_passes_verify_where_a_device_computes_in_it(
    every_precision: tuple[Path, ExportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", ANYTHING)
    report = verify(Bundle.open(every_precision[0]), "cpu", "int8")
    assert report.passed, report.problems
    assert report.precision == "int8"


@pytest.mark.slow
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
