import json
from functools import partial

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import decode
from benchmarks.decode import SAMPLE, measure_decode


def test_measure_decode_times_both_ways_on_a_reduced_jpeg() -> None:
    report = measure_decode(SAMPLE, input_px=64, rounds=2, size=(1600, 2000))
    assert report.reduction == 2
    assert report.file_bytes > 300_000
    assert report.full_ms > 0
    assert report.reduced_ms > 0
    assert report.largest_difference <= 2


def test_made_jpeg_shows_the_photograph_with_noise() -> None:
    grey = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    made = cv2.imdecode(np.frombuffer(decode._make_jpeg(grey, (600, 800)), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert made.shape == (600, 800, 3)
    np.testing.assert_allclose(made.mean(axis=(0, 1)), (200, 100, 50), atol=2)
    assert 4 < made[..., 1].std() < 10


def test_command_prints_json(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(measure_decode, size=(400, 600))
    monkeypatch.setattr(decode, "measure_decode", small)
    app = typer.Typer()
    app.command()(decode.main)
    result = CliRunner().invoke(app, ["--json", "--rounds", "1", "--input-px", "64"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["size"], report["reduction"]) == ([400, 600], 1)
    assert report["ratio"] == pytest.approx(report["full_ms"] / report["reduced_ms"])


def test_command_names_a_photograph_that_cannot_be_read(tmp_path) -> None:
    app = typer.Typer()
    app.command()(decode.main)
    result = CliRunner().invoke(app, [str(tmp_path / "none.jpg")])
    assert result.exit_code == 1
    assert "there is no such file" in result.stderr
