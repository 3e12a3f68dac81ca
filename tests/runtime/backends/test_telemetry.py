import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biounet_edge.backends import telemetry


def modules_of(code: str, home: Path) -> str:
    """Runs code in a process of its own whose home folder is empty."""
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "USERPROFILE": str(home)}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return process.stdout.strip()


SWITCHES = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")


def test_onnxruntime_leaves_no_device_identifier_and_no_cache(bundle, tmp_path):
    code = (
        "from biounet_edge import Predictor\n"
        f"Predictor({str(bundle.folder)!r}, device='cpu', level='classify').close()\n"
        "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert modules_of(code, tmp_path) == "1"
    assert list(tmp_path.rglob("*")) == []


def test_openvino_is_imported_without_its_telemetry(tmp_path):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    code = (
        "import sys; from biounet_edge.backends.telemetry import import_openvino\n"
        "import_openvino().Core()\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    assert modules_of(code, tmp_path) == "[]"
    assert list(tmp_path.rglob("*")) == []


def test_import_onnxruntime_turns_the_events_of_windows_off(monkeypatch):
    calls = []

    class Library:
        disable_telemetry_events = staticmethod(lambda: calls.append("off"))

    monkeypatch.setitem(sys.modules, "onnxruntime", Library)
    assert telemetry.import_onnxruntime() is Library
    assert calls == ["off"]


def test_import_openvino_blocks_telemetry_only_meanwhile(monkeypatch):
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    seen = []

    monkeypatch.setattr(telemetry, "_openvino", lambda: seen.append(sys.modules["openvino_telemetry"]))
    telemetry.import_openvino()
    assert seen == [None]
    assert "openvino_telemetry" not in sys.modules
