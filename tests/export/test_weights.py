"""Weights in a file of their own, in float32 or, rounded first, in float16."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from biounet_edge.bundle.folder import Bundle
from biounet_edge.checks.verification import verify
from export.bundle import ExportOptions, export_bundle
from export.parity import run_graph
from export.weights import round_convolutions, write_graphs


def test_rounding_touches_convolutions_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    nn.init.uniform_(module[1].weight)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    round_convolutions(module)
    after = module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0.weight"}
    assert after["0.weight"].dtype == torch.float32
    assert torch.equal(after["0.weight"], before["0.weight"].half().float())


def test_graphs_compute_the_same_from_either_format(components: dict[str, ir.Model], tmp_path: Path) -> None:
    encoder = components["encoder_streaks"].clone()
    for value in encoder.graph.initializers.values():
        array = value.const_value.numpy()  # type: ignore[union-attr]
        if array.ndim == 4:
            value.const_value = ir.tensor(array.astype(np.float16).astype(np.float32), name=value.name)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    answers = []
    for weights in ("float32", "float16"):
        folder = tmp_path / weights
        folder.mkdir()
        write_graphs({"encoder.onnx": encoder}, folder, weights)  # type: ignore[arg-type]
        answers.append(run_graph(folder / "encoder.onnx", pixels=pixels))
    assert answers[0]["heatmaps"].any(axis=(2, 3)).all()
    for name, values in answers[0].items():
        np.testing.assert_array_equal(answers[1][name], values)
    sizes = [(tmp_path / weights / "weights.bin").stat().st_size for weights in ("float32", "float16")]
    assert 0.5 < sizes[1] / sizes[0] < 0.6


@pytest.mark.slow
def test_a_bundle_in_float16_passes_its_gates(
    checkpoint: Path, exported: tuple[Path, object], tmp_path: Path
) -> None:
    out = tmp_path / "half"
    export_bundle(checkpoint, out, ExportOptions(weights="float16"))
    bundle = Bundle.open(out)
    assert bundle.manifest.weights == "float16"
    assert verify(bundle, "cpu").passed
    assert (out / "weights.bin").stat().st_size < 0.6 * (exported[0] / "weights.bin").stat().st_size
