import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import report
from biounet_edge.results.html import writer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def run(*arguments: object):
    app = typer.Typer()
    app.command()(report.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_report_says_what_a_photograph_takes(monkeypatch):
    costs = {}
    for embedded in (200, 0):
        monkeypatch.setattr(writer, "EMBEDDED", embedded)
        cost = costs[embedded] = json.loads(run(SAMPLES, "--count", 20, "--json").stdout)
        assert (cost["photographs"], cost["count"]) == (6, 20)
        assert cost["write_ms"] > 0
    inside, beside = costs[200], costs[0]
    assert inside["beside_bytes"] == 0
    assert beside["beside_bytes"] > 10_000
    # What a card draws depends on the model; the photograph in it takes four letters for three bytes.
    difference = inside["page_bytes"] - beside["page_bytes"]
    assert difference == pytest.approx(beside["beside_bytes"] * 4 / 3, rel=0.02)


def test_report_needs_a_photograph(tmp_path):
    (tmp_path / "a.jpg").touch()
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "no photograph in" in result.stderr
