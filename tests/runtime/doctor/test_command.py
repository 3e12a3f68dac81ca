import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from biounet_edge.cli.doctor import doctor

from .machines import CPU


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(doctor)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_doctor_exits_with_0_where_there_is_no_problem(run, machine):
    machine(replace(CPU, fast_formats=frozenset({"vnni"})))
    result = run()
    assert result.exit_code == 0
    assert "Processor" in result.stdout
    assert "warning" in result.stdout
    assert "-> choose --precision int8 if the bundle has it" in result.stdout
    assert result.stderr == ""


def test_doctor_exits_with_1_where_there_is_a_problem(run, machine, tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "-> name the folder that has the" in result.stdout
    assert result.stderr == "1 problem found\n"


def test_doctor_prints_json(run, machine, tmp_path):
    machine(replace(CPU, shows_gpu=True))  # a GPU without a driver
    result = run(tmp_path, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["problems"] == 2
    assert {"name": "NVIDIA GPU", "status": "problem"}.items() <= content["findings"][4].items()
    assert set(content["findings"][0]) == {"name", "status", "text", "remedy"}
    assert result.stderr == "2 problems found\n"


def test_doctor_runs_on_this_machine(run):
    result = run("--json")
    names = [found["name"] for found in json.loads(result.stdout)["findings"]]
    assert names[:4] == ["Python", "Packages", "OpenCV", "ONNX Runtime"]
    assert "Bundle" in names
