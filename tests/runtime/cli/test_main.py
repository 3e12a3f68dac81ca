"""What all commands share: usage, help, exit codes."""

import json
import subprocess
import sys
import time
from typing import get_args

import pytest

from biounet_edge import __version__
from biounet_edge.backends.onnx_runtime import OnnxRuntimeBackend
from biounet_edge.bundle.manifest import Level

from .written import rows


@pytest.mark.parametrize("command", ["predict", "info", "verify"])
def test_commands_refuse_a_bundle_of_a_newer_format(run, folder, bundle_copy, command):
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 3}))
    arguments = [folder, "--bundle", bundle_copy] if command == "predict" else [bundle_copy]
    result = run(command, *arguments)
    assert result.exit_code == 1
    assert (
        "has format 3, and this biounet-edge reads up to format 2: a newer biounet-edge is needed"
        in result.stderr
    )


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "x", "--level", "deep"], ["predict", "x", "--batch-size", 0], ["fly"]],
)
def test_wrong_usage_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_interrupted_run_keeps_its_finished_rows(run, folder, tmp_path, monkeypatch):
    compute = OnnxRuntimeBackend.run
    calls = 0

    def interrupted(self, images):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return compute(self, images)

    monkeypatch.setattr(OnnxRuntimeBackend, "run", interrupted)
    options = ("--level", "classify", "--batch-size", 1)
    result = run("predict", folder, "--output", tmp_path / "out", *options)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    kept = rows(tmp_path / "out")
    assert len(kept) <= 3
    assert all(row["status"] == "ok" for row in kept)
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_version_is_printed(run):
    assert run("--version").stdout == f"biounet-edge {__version__}\n"


def test_level_option_names_the_levels_of_the_manifest(run):
    help_text = run("predict", "--help").stdout
    assert all(level in help_text for level in get_args(Level))


def test_help_answers_quickly_without_heavy_imports():
    code = (
        "import sys; from biounet_edge.cli.main import app; app(['--help'], standalone_mode=False); "
        "print({'numpy', 'cv2', 'pydantic', 'onnxruntime', 'torch'} & set(sys.modules))"
    )
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert time.monotonic() - start < 5  # 0.3 s on an idle machine; the modules are what is judged
    assert "predict" in process.stdout
    assert process.stdout.strip().endswith("set()")
