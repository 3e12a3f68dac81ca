"""The bundle as a whole: what is in it, and that it appears whole or not at all."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import FAMILIARITY
from biounet_edge.checks.verification import verify
from biounet_edge.errors import CheckpointError, ExportError, ImageError
from biounet_edge.indicators import INDICATORS
from export.bundle import ExportOptions, ExportReport, check_exportable, export_bundle
from export.parity import GATES
from train.checkpoint import ModelInfo

LEVELS = ("classify", "cam", "full")


def test_bundle_has_the_files_of_the_format(bundle: Path) -> None:
    components = [f"{part}_{name}.onnx" for part in ("encoder", "decoder") for name in INDICATORS]
    others = ["fusion.onnx", "weights.bin", "golden.npz", "manifest.json", "MODEL_CARD.md", "parity.json"]
    assert {path.name for path in bundle.iterdir()} == {*components, *others, *(f"{v}.onnx" for v in LEVELS)}


def test_manifest_describes_the_model(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.name, manifest.version, manifest.notice) == ("small", "1.2.3", "Made by a test.")
    assert (manifest.input.height, manifest.input.width) == (64, 64)
    assert manifest.melanoma.model_dump() == pytest.approx(
        {"threshold": 0.4, "bias": -0.3, "temperature": 1.5}
    )
    assert manifest.operating_points["streaks"].mask == 0.6
    assert manifest.presence_temperatures["streaks"] == 1.4
    assert manifest.outputs["heatmap"].shape == ["N", 5, 2, 2]
    assert manifest.outputs["mask_probability"].shape == ["N", 5, 64, 64]


def test_the_runtime_verifies_the_bundle(bundle: Path) -> None:
    report = verify(Bundle.open(bundle), "cpu")
    assert report.passed, report.problems
    assert [len(level.checks) for level in report.levels] == [3, 5, 6]


def test_manifest_counts_what_a_level_costs(bundle: Path) -> None:
    levels = Bundle.open(bundle).manifest.levels
    # ResNet-50 at 512 pixels and width 64 costs 42.7 GFLOPs; at an eighth of both 1/64 of 1/64 of it, and the
    # stem, which has three channels at any width, seven times as much beside that (1.2 GFLOPs / 64 / 8).
    assert levels["classify"].gflops == pytest.approx(5 * (41.5 / 64 / 64 + 1.23 / 64 / 8), rel=0.02)
    assert levels["full"].gflops is not None
    assert levels["classify"].gflops is not None
    assert levels["full"].gflops > 3 * levels["classify"].gflops


def test_golden_outputs_show_every_indicator_and_hold_no_pickle(bundle: Path) -> None:
    golden = Bundle.open(bundle).golden()
    assert 2 <= len(golden.image) <= 4
    of_encoders = {"heatmaps, three finest", "heatmaps, nine others"}
    assert set(golden.outputs) == {*GATES} - of_encoders - {FAMILIARITY}  # the small model has no score
    assert golden.outputs["heatmap"].any(axis=(0, 2, 3)).all()


def test_no_weight_stands_twice_in_the_files(bundle: Path) -> None:
    places: dict[bytes, set[tuple[str, int]]] = {}
    weights = (bundle / "weights.bin").read_bytes()
    for path in bundle.glob("*.onnx"):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                entry = {item.key: item.value for item in tensor.external_data}
                start, length = int(entry["offset"]), int(entry["length"])
                content, place = weights[start : start + length], (entry["location"], start)
            else:
                content, place = onnx.numpy_helper.to_array(tensor).tobytes(), (path.name, -1)
            if tensor.data_type == onnx.TensorProto.FLOAT and len(content) > 4 * 4:
                places.setdefault(hashlib.sha256(content).digest(), set()).add(place)
    assert len(places) > 1000
    assert {len(where) for where in places.values()} == {1}


def test_weights_are_aligned_and_no_larger_than_the_checkpoint(bundle: Path, checkpoint: Path) -> None:
    for tensor in onnx.load(bundle / "full.onnx", load_external_data=False).graph.initializer:
        for item in tensor.external_data:
            assert item.key != "offset" or int(item.value) % 64 == 0
    # The checkpoint also has the projection heads; alignment costs less than they do.
    assert (bundle / "weights.bin").stat().st_size < (checkpoint / "model.safetensors").stat().st_size


@pytest.mark.parametrize("level", LEVELS)
def test_graphs_say_what_they_are(bundle: Path, level: str) -> None:
    model = onnx.load(bundle / f"{level}.onnx", load_external_data=False)
    assert {item.key: item.value for item in model.metadata_props} == {
        "name": "small",
        "version": "1.2.3",
        "level": level,
        "precision": "float32",
        "indicators": ",".join(INDICATORS),
        "notice": "Made by a test.",
    }
    onnx.checker.check_model(str(bundle / f"{level}.onnx"))


def test_lower_levels_hold_no_more_than_they_need(bundle: Path) -> None:
    counts: Mapping[str, Counter[str]] = {
        level: Counter(
            node.op_type for node in onnx.load(bundle / f"{level}.onnx", load_external_data=False).graph.node
        )
        for level in LEVELS
    }
    forward = len(INDICATORS) * 53  # convolutions in a ResNet-50
    assert counts["classify"]["Conv"] == counts["cam"]["Conv"] == forward
    assert "MatMul" not in counts["classify"]
    assert counts["cam"]["MatMul"] == len(INDICATORS)
    assert "ConvTranspose" not in counts["cam"]
    assert "Resize" not in counts["cam"]
    assert counts["full"]["MatMul"] == len(INDICATORS) * 12


def test_model_card_states_licence_notice_parity_and_notes(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    for text in ("**Made by a test.**", "CC0-1.0", "| auc_melanoma | 0.500 |", "| cam.onnx | heatmap |"):
        assert text in card
    assert card.endswith("## Held out\n\nAUC 0.9.\n")


def test_report_tells_sizes_and_parity(exported: tuple[Path, ExportReport], checkpoint: Path) -> None:
    out, report = exported
    assert report.bundle_bytes == sum(path.stat().st_size for path in out.iterdir())
    assert report.source_bytes == (checkpoint / "model.safetensors").stat().st_size
    assert {row.graph for row in report.parity} == {
        "classify.onnx",
        "cam.onnx",
        "full.onnx",
        "encoder_*.onnx",
        "decoder_*.onnx",
    }
    assert all(row.passed for row in report.parity)


def test_a_missed_gate_leaves_nothing_behind(
    checkpoint: Path, components: dict[str, ir.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.draft.make_components", lambda model, report: components)
    monkeypatch.setattr("export.parity.GATES", dict.fromkeys(GATES, 0.0))
    monkeypatch.setattr("export.parity.OWN_ROUNDING", 0.0)
    with pytest.raises(
        ExportError, match=r"do not compute what PyTorch computes: .*full\.onnx mask_probability"
    ):
        export_bundle(checkpoint, tmp_path / "engines" / "small")
    assert list((tmp_path / "engines").iterdir()) == []


def test_an_interrupted_export_leaves_nothing_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(model: object, report: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.draft.make_components", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(checkpoint, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with pytest.raises(ExportError, match=r"small is already there: .* replace it with --overwrite"):
        export_bundle(tmp_path / "no_checkpoint", tmp_path / "small")


def test_a_missing_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        export_bundle(tmp_path / "model.safetensors", tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_golden_images_are_counted_and_read(checkpoint: Path, tmp_path: Path) -> None:
    image = tmp_path / "lesion.png"
    cv2.imwrite(str(image), np.zeros((20, 30, 3), np.uint8))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(ExportError, match="expected 2 to 4 golden images, got 1"):
        export_bundle(checkpoint, tmp_path / "small", ExportOptions(golden=[image]))
    with pytest.raises(ImageError):
        export_bundle(checkpoint, tmp_path / "small", ExportOptions(golden=[image, broken]))


def test_card_notes_that_cannot_be_read_are_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"notes\.md cannot be read as a text file"):
        export_bundle(checkpoint, tmp_path / "small", ExportOptions(card_notes=tmp_path / "notes.md"))


def test_a_model_of_fewer_encoders_is_refused(info: ModelInfo) -> None:
    network = replace(info.network, encoders=((*INDICATORS, "melanoma"),))
    with pytest.raises(
        ExportError, match="has 1 led by pigment_network; export a model with an encoder for each"
    ):
        check_exportable(info.model_copy(update={"network": network}))


def test_a_model_without_masks_is_refused(info: ModelInfo) -> None:
    with pytest.raises(ExportError, match="was trained without f_Seg, a bundle needs its masks"):
        check_exportable(info.model_copy(update={"segmentation": False}))
