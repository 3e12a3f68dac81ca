"""The benchmarks that compare bundles, and graphs with and without merged blocks."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import common_blocks
from benchmarks.bundles import measure_bundles

ROOT = Path(__file__).resolve().parents[2]


def test_bundles_are_measured_beside_the_first() -> None:
    demo = ROOT / "engines" / "demo"
    first, second = measure_bundles(
        [demo, demo], ROOT / "samples", level="classify", device="cpu", batch_size=3, rounds=1
    )
    assert first.ratio == 1.0
    assert first.images_per_s > 0
    assert second.ratio == pytest.approx(second.images_per_s / first.images_per_s)  # of one round
    assert first.backend == second.backend


def test_merged_blocks_are_fewer_nodes_with_the_same_results(lite0_bundle: Path) -> None:
    app = typer.Typer()
    app.command()(common_blocks.main)
    arguments = [str(lite0_bundle), "--images", str(ROOT / "samples"), "--level", "classify"]
    result = CliRunner().invoke(app, [*arguments, "--batch-size", "2", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    apart, merged = map(int, re.findall(r"(?:apart|merged): (\d+) nodes", result.output))
    assert merged < apart / 1.5
    assert re.search(r"ONNX Runtime: .* merged, .* times; bit-equal", result.output)
