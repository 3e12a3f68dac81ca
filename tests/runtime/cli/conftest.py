from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biounet_edge.cli.main import app


@pytest.fixture
def run(bundle):
    """Runs the command, on the CPU where nothing else is said; predict gets the bundle under test."""

    def invoke(*arguments: object):
        texts = [str(argument) for argument in arguments]
        if texts[0] == "predict" and "--bundle" not in texts:
            texts += ["--bundle", str(bundle.folder)]
        if texts[0] in ("predict", "verify") and "--device" not in texts and "--help" not in texts:
            texts += ["--device", "cpu"]
        return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, texts)

    return invoke


@pytest.fixture
def folder(tmp_path, photograph, write_image) -> Path:
    images = tmp_path / "images"
    for i, name in enumerate(["a.jpg", "b.png", "sub/c.webp", "sub/d.bmp", "Läsion 病変.tiff"]):
        write_image(images / name, np.roll(photograph, 7 * i, axis=1))
    return images
