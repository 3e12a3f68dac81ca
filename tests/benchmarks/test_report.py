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


@pytest.mark.parametrize(("embedded", "beside"), [(200, False), (0, True)])
def test_report_says_what_a_photograph_takes(monkeypatch, embedded, beside):
    monkeypatch.setattr(writer, "EMBEDDED", embedded)
    result = run(SAMPLES, "--count", 20, "--json")
    cost = json.loads(result.stdout)
    assert (cost["photographs"], cost["count"]) == (6, 20)
    assert cost["write_ms"] > 0
    assert (cost["beside_bytes"] > 10_000) == beside
    assert (cost["page_bytes"] > 30_000) != beside


def test_report_needs_a_photograph(tmp_path):
    (tmp_path / "a.jpg").touch()
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "no photograph in" in result.stderr
