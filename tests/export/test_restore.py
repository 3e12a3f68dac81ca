"""A bundle holds the whole model: PyTorch gets back from it what was exported."""

import json
from pathlib import Path

import pytest
import torch

from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import CheckpointError, IntegrityError
from export.restore import open_source, restore_model
from train.checkpoint import ModelInfo
from train.network import BioUNet


def test_restored_weights_are_those_of_the_checkpoint(
    bundle: Path, small_model: BioUNet, info: ModelInfo
) -> None:
    model, restored = restore_model(Bundle.open(bundle))
    expected = small_model.state_dict()
    for name, tensor in model.state_dict().items():
        if "projection_head" not in name and "num_batches_tracked" not in name:
            assert torch.equal(tensor, expected[name]), name
    assert restored.model_dump(exclude={"name"}) == info.model_dump(exclude={"name"})


def test_restored_convolutions_are_shared_by_both_paths(bundle: Path) -> None:
    model, _ = restore_model(Bundle.open(bundle))
    network = model.network("streaks")
    path = network.heatmap_path("streaks").encoder
    assert network.encoder.layer1[0].conv1.weight is path.layer1[0].conv1.weight  # type: ignore[union-attr, index]


def test_a_source_is_a_checkpoint_or_a_bundle(bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    from_bundle, from_checkpoint = open_source(bundle), open_source(checkpoint)
    assert (from_bundle.name, from_bundle.version, from_bundle.weights) == ("small", "1.2.3", "float32")
    assert from_bundle.notes == "## Held out\n\nAUC 0.9."
    assert from_bundle.golden is not None
    assert (from_checkpoint.name, from_checkpoint.golden, from_checkpoint.notes) == (None, None, None)
    with pytest.raises(CheckpointError, match=r"expected a checkpoint at .*found none"):
        open_source(tmp_path)


def test_a_changed_bundle_is_no_source(bundle: Path, tmp_path: Path) -> None:
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["weights.bin"]["sha256"] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"weights\.bin is not the file"):
        open_source(tmp_path)
