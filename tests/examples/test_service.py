import asyncio
import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from biounet_edge import Predictor

httpx = pytest.importorskip("httpx", reason="httpx is in requirements/dev.txt")
pytest.importorskip("fastapi", reason="fastapi is in requirements/dev.txt")
service = importlib.import_module("examples.service")

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "ISIC_0000166.jpg"


def post(*bodies: bytes):
    """Starts the service, sends photographs one by one, and stops it."""

    async def send():
        transport = httpx.ASGITransport(service.app)
        async with (
            service.lifespan(service.app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            return [await client.post("/predict", content=body) for body in bodies]

    return asyncio.run(send())


def test_service_answers_as_the_python_interface():
    (answer,) = post(SAMPLE.read_bytes())
    assert answer.status_code == 200
    with Predictor() as predictor:
        expected = predictor.predict(SAMPLE).to_dict()
        notice = predictor.bundle.manifest.notice
    found = answer.json()
    assert found["notice"] == notice
    assert found["melanoma_probability"] == pytest.approx(expected["melanoma_probability"], abs=1e-6)
    assert list(found["indicators"]) == list(expected["indicators"])


def test_service_answers_null_without_an_operating_point(monkeypatch):
    predict = Predictor.predict

    def undecided(self, source):
        prediction = predict(self, source)
        streaks = replace(prediction.indicators["streaks"], present=None, area_pct=None)
        return replace(prediction, indicators=dict(prediction.indicators) | {"streaks": streaks})

    monkeypatch.setattr(Predictor, "predict", undecided)
    (answer,) = post(SAMPLE.read_bytes())
    assert answer.status_code == 200
    streaks = answer.json()["indicators"]["streaks"]
    assert (streaks["present"], streaks["area_pct"]) == (None, None)


def test_service_says_why_a_photograph_cannot_be_read():
    answers = post(SAMPLE.read_bytes()[:5000], b"")
    assert [answer.status_code for answer in answers] == [422, 422]
    assert [answer.json()["detail"] for answer in answers] == [
        "the JPEG image is truncated or damaged: its end marker is missing",
        "the file is empty",
    ]


def test_service_refuses_what_is_too_large(monkeypatch):
    monkeypatch.setattr(service, "MAX_BYTES", 1000)
    (answer,) = post(SAMPLE.read_bytes())
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the photograph is larger than 1000 bytes"
