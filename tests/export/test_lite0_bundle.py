"""A bundle of EfficientNet-Lite0 encoders that have their first blocks in common."""

import json
import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from biounet_edge.backends.tensor_rt.building import build_graph
from biounet_edge.bundle.folder import Bundle
from biounet_edge.checks.verification import verify
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from export.restore import restore_model
from tests.export.conftest import COMMON_BLOCKS
from train.checkpoint import ModelInfo
from train.encoders import count_common_blocks
from train.encoders.resnet50 import ResNet50
from train.network import BioUNet

LEVELS = ("classify", "cam", "full")


def test_the_runtime_verifies_the_bundle(lite0_bundle: Path) -> None:
    report = verify(Bundle.open(lite0_bundle), "cpu")
    assert report.passed, report.problems


def test_manifest_describes_the_encoders(lite0_bundle: Path) -> None:
    manifest = Bundle.open(lite0_bundle).manifest
    assert manifest.encoder is not None
    assert manifest.encoder.model_dump() == {
        "family": "efficientnet_lite0",
        "base_width": None,
        "decoder_width": 16,
        "common_blocks": COMMON_BLOCKS,
    }
    assert manifest.presence_shifts == {name: 0.2 for name in INDICATORS}
    assert manifest.operating_points["streaks"].presence is None


def test_every_level_says_how_familiar_a_photograph_is(lite0_bundle: Path) -> None:
    manifest = Bundle.open(lite0_bundle).manifest
    assert manifest.familiarity is not None
    assert manifest.familiarity.threshold == -1.7
    assert all("familiarity" in spec.outputs for spec in manifest.levels.values())
    assert manifest.outputs["familiarity"].shape == ["N"]
    golden = Bundle.open(lite0_bundle).golden().outputs["familiarity"]
    assert len(set(golden.tolist())) == len(golden)
    parity = json.loads((lite0_bundle / "parity.json").read_text(encoding="utf-8"))["golden"]
    compared = [row["graph"] for row in parity if row["output"] == "familiarity" and row["passed"]]
    assert compared == ["classify.onnx", "cam.onnx", "full.onnx"]


def test_card_names_the_family_and_missing_operating_points(lite0_bundle: Path) -> None:
    card = (lite0_bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "an encoder of its own, EfficientNet-Lite0. The whole image" in card
    assert "ResNet" not in card
    assert "| streaks | none | 0.60 |" in card
    assert "only the probability is reported" in card


def test_restored_model_is_the_exported_one(
    lite0_bundle: Path, lite0_model: BioUNet, lite0_info: ModelInfo
) -> None:
    model, restored = restore_model(Bundle.open(lite0_bundle))
    expected = lite0_model.state_dict()
    for name, tensor in model.state_dict().items():
        if "projection_head" not in name and "num_batches_tracked" not in name:
            assert torch.equal(tensor, expected[name]), name
    assert restored.model_dump(exclude={"name"}) == lite0_info.model_dump(exclude={"name"})


def test_level_cam_adds_the_gradient_of_the_head_alone(lite0_bundle: Path) -> None:
    counts = [
        Counter(
            n.op_type for n in onnx.load(lite0_bundle / f"{level}.onnx", load_external_data=False).graph.node
        )
        for level in ("classify", "cam")
    ]
    assert counts[1]["Conv"] - counts[0]["Conv"] == len(INDICATORS)
    assert counts[1]["ConvTranspose"] == counts[1]["Resize"] == 0
    levels = Bundle.open(lite0_bundle).manifest.levels
    assert levels["classify"].gflops is not None
    assert levels["cam"].gflops is not None
    assert levels["cam"].gflops < 1.15 * levels["classify"].gflops


def test_common_blocks_are_those_that_are_equal_in_all() -> None:
    torch.manual_seed(0)
    first = ResNet50(base_width=2)
    others = [ResNet50(base_width=2) for _ in range(2)]
    assert count_common_blocks([first, *others]) == 0
    for other in others:
        other.load_state_dict(first.state_dict())
    assert count_common_blocks([first, *others]) == ResNet50.BLOCKS
    others[1].blocks()[4].bn2.running_mean += 1  # type: ignore[operator]
    assert count_common_blocks([first, *others]) == 4
    others[0].bn1.bias.data += 1
    assert count_common_blocks([first, *others]) == 0


def test_an_unknown_family_is_named(lite0_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lite0_bundle, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["encoder"]["family"] = "resnet18"
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ExportError, match=r"'resnet18': expected resnet50 or efficientnet_lite0; export it"):
        restore_model(Bundle.open(copy))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_compiles_for_tensorrt(lite0_bundle: Path, level: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    built = build_graph(
        Bundle.open(lite0_bundle),
        f"{level}.onnx",
        "tensorrt-rtx",
        compute_capabilities=["8.9"],
        output=tmp_path,
    )
    assert built.path.stat().st_size > 100_000
