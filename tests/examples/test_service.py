import importlib
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="httpx is in requirements/dev.txt")
pytest.importorskip("fastapi", reason="the serve extra is not installed")
from tests.runtime.service.clients import post

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "ISIC_0000166.jpg"


def test_service_of_the_example_answers():
    service = importlib.import_module("examples.service")
    (answer,) = post(service.app, SAMPLE.read_bytes())
    assert answer.status_code == 200
    assert "melanoma_probability" in answer.json()
