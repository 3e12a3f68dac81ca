import io
import os
import subprocess
import sys

from biounet_edge.cli.console import print_json


def test_print_json_reaches_a_pipe_at_once(monkeypatch):
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="ascii"))
    print_json({"image": "病.png"}, indent=None)
    assert pipe.getvalue() == b'{"image": "\\u75c5.png"}\n'


def test_names_that_the_terminal_cannot_show_are_escaped(bundle, photograph, write_image, tmp_path):
    write_image(tmp_path / "in" / "病.png", photograph)
    (tmp_path / "in" / "変.png").touch()
    command = [sys.executable, "-c", "from biounet_edge.cli.main import main; main()", "predict", "in"]
    options = ["--bundle", str(bundle.folder), "--device", "cpu", "--level", "classify"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    process = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, timeout=120
    )
    assert process.returncode == 3, process.stderr  # of the file that is empty
    assert rb"in/\u75c5.png" in process.stdout
    assert rb"error: in/\u5909.png: the file is empty" in process.stderr
