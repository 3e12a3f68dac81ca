"""The command as a whole: help, version, usage, and what is missing without the extra cli."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from onnx_gradcam import __version__
from onnx_gradcam.cli.main import app


def test_help_names_both_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("add", "layers"))


def test_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"onnx-gradcam {__version__}\n"


def test_missing_argument_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["add"]).exit_code == 2


def test_the_module_is_the_command(model: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "onnx_gradcam", "layers", str(model)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "features" in process.stdout


def test_help_loads_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from onnx_gradcam.cli.main import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "sys.exit(str({'numpy', 'onnx', 'onnx_ir', 'onnxscript'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.stderr == "set()\n"


@pytest.mark.parametrize("name", ["rich", "typer"])
def test_a_missing_package_of_the_command_is_named(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; from onnx_gradcam.__main__ import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert process.stderr == (
        f"error: {name} is not installed, and the command needs it: pip install rich typer\n"
    )
