import asyncio
import sys
import threading
from dataclasses import replace

import pytest

pytest.importorskip("httpx", reason="httpx is in requirements/dev.txt")
pytest.importorskip("fastapi", reason="the serve extra is not installed")
pytest.importorskip("python_multipart", reason="the serve extra is not installed")

from biounet_edge import InputError, Predictor
from biounet_edge.photographs import memory
from biounet_edge.service import Limits, create_app

from ..photographs.image_files import png
from .clients import post, post_form, talk


def test_service_answers_as_the_python_interface(make_app, classifying, content):
    (answer,) = post(make_app(), content)
    assert answer.status_code == 200
    expected = classifying.predict(content)
    found = answer.json()
    assert found["notice"] == classifying.bundle.manifest.notice
    assert found["melanoma_probability"] == pytest.approx(expected.melanoma_probability, abs=1e-6)
    assert list(found["indicators"]) == list(expected.indicators)


def test_service_answers_null_without_an_operating_point(make_app, content, monkeypatch):
    predict = Predictor.predict

    def undecided(self, source):
        prediction = predict(self, source)
        streaks = replace(prediction.indicators["streaks"], present=None, area_pct=None)
        return replace(prediction, indicators=dict(prediction.indicators) | {"streaks": streaks})

    monkeypatch.setattr(Predictor, "predict", undecided)
    (answer,) = post(make_app(), content)
    assert answer.status_code == 200
    streaks = answer.json()["indicators"]["streaks"]
    assert (streaks["present"], streaks["area_pct"]) == (None, None)


def test_service_says_why_a_photograph_cannot_be_read(make_app, content):
    answers = post(make_app(), content[:2000], b"")
    assert [answer.status_code for answer in answers] == [422, 422]
    assert [answer.json()["detail"] for answer in answers] == [
        "the JPEG image is truncated or damaged: its end marker is missing",
        "the file is empty",
    ]


def test_service_reads_the_files_of_a_form_each_for_itself(make_app, classifying, content):
    answer = post_form(make_app(), first=content, cut=content[:2000])
    assert answer.status_code == 200
    first, cut = answer.json()["predictions"]
    assert (first["image"], first["status"]) == ("first.jpg", "ok")
    expected = classifying.predict(content).melanoma_probability
    assert first["melanoma_probability"] == pytest.approx(expected, abs=1e-6)
    assert (cut["image"], cut["status"]) == ("cut.jpg", "error")
    assert "its end marker is missing" in cut["error"]


def test_service_gives_no_number_of_an_unfamiliar_photograph(judge, photograph, write_image, tmp_path):
    files = {
        name: write_image(tmp_path / f"{name}.png", pixels).read_bytes()
        for name, pixels in {"bright": photograph, "dark": photograph // 4}.items()
    }
    app = create_app(judge)
    answer = post(app, files["dark"])[0]
    bright, dark = post_form(app, **files).json()["predictions"]
    assert answer.status_code == 200
    alone = answer.json()
    assert alone.pop("notice") == judge.bundle.manifest.notice
    assert alone | {"image": "dark.jpg"} == dark
    assert (dark["status"], dark["category"]) == ("unfamiliar", "unfamiliar")
    assert "does not look like the photographs" in dark["error"]
    assert "melanoma_probability" not in dark
    assert (bright["status"], bright["category"]) == ("ok", None)


def test_service_marks_an_unfamiliar_photograph_that_it_was_told_to_assess(
    lenient, photograph, write_image, tmp_path
):
    dark = write_image(tmp_path / "dark.png", photograph // 4).read_bytes()
    answer = post(create_app(lenient), dark)[0].json()
    assert answer["status"] == "unfamiliar"
    assert answer["warning"].startswith("unlike the photographs")
    assert 0 <= answer["melanoma_probability"] <= 1


def test_service_loads_the_model_before_the_first_request_and_releases_it_after_the_last(bundle, content):
    made = []

    def make() -> Predictor:
        made.append(Predictor(bundle, device="cpu", level="classify"))
        return made[0]

    app = create_app(make)
    assert made == []
    assert post(app, content)[0].status_code == 200
    assert len(made) == 1
    assert made[0]._backend is None


def test_service_leaves_a_predictor_open_that_it_did_not_make(make_app, classifying, content):
    post(make_app(), content)
    assert classifying.predict(content)


def test_service_says_what_answers(make_app, classifying):
    async def ask(client):
        return await client.get("/health"), await client.get("/docs"), await client.get("/openapi.json")

    health, docs, schema = talk(make_app(), ask)[0]
    assert health.json()["model"] == classifying.bundle.manifest.name
    assert health.json()["status"] == "ok"
    assert docs.status_code == 404  # which would load scripts from elsewhere
    assert "multipart/form-data" in schema.json()["paths"]["/predict"]["post"]["requestBody"]["content"]


def test_service_sends_away_what_comes_at_once_with_too_many(make_app, content, monkeypatch):
    entered, leave = threading.Event(), threading.Event()
    predict = Predictor.predict

    def waiting(self, source):
        entered.set()
        leave.wait(30)
        return predict(self, source)

    monkeypatch.setattr(Predictor, "predict", waiting)

    async def first(client):
        return await client.post("/predict", content=content)

    async def second(client):
        await asyncio.to_thread(entered.wait, 30)
        answers = [await client.post("/predict", content=content)]
        leave.set()
        return answers

    answered, (busy,) = talk(make_app(requests=1), first, second)
    assert answered.status_code == 200
    assert (busy.status_code, busy.headers["retry-after"], busy.headers["connection"]) == (503, "1", "close")
    assert busy.json()["detail"] == "1 requests are being answered, and no more are taken: try again"
    assert post(make_app(requests=1), content, content, content)[2].status_code == 200


def test_service_counts_a_request_until_its_thread_is_free(make_app, content, monkeypatch):
    leave = threading.Event()
    predict = Predictor.predict

    def waiting(self, source):
        leave.wait(30)
        return predict(self, source)

    monkeypatch.setattr(Predictor, "predict", waiting)

    async def ask(client):
        answers = [await client.post("/predict", content=content) for _ in range(2)]
        leave.set()
        return answers

    late, busy = talk(make_app(requests=1, predict_s=0.1), ask)[0]
    assert late.status_code == 504
    assert "takes more than 0 s: send fewer or smaller files" in late.json()["detail"]
    assert busy.status_code == 503


def test_service_reads_one_large_photograph_at_a_time(make_app, monkeypatch):
    monkeypatch.setattr(memory, "LARGE_BYTES", memory.SMALL_BYTES)
    inside, most = [], []

    def decode(file, factor):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.05)
        inside.pop()
        raise MemoryError

    monkeypatch.setattr("biounet_edge.photographs.decoding._decode", decode)

    async def ask(client):
        return await client.post("/predict", content=png(4000, 4000, 8, 2))

    answers = talk(make_app(), *[ask] * 6)
    assert max(most) == 1
    assert len(most) == 6
    assert {answer.status_code for answer in answers} == {503}


def test_service_asks_to_try_again_when_memory_is_short(make_app, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "PATIENCE_S", 0)
    (answer,) = post(make_app(), png(4000, 4000, 8, 2))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "does not fit into memory: its 4,000 x 4,000 pixels" in answer.json()["detail"]


@pytest.mark.parametrize("limit", [{"requests": 0}, {"stall_s": -1}])
def test_limits_are_above_nothing(limit):
    with pytest.raises(InputError, match=r"(requests|stall_s) must be above 0, got (0|-1)"):
        Limits(**limit)


def test_service_says_which_extra_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("biounet_edge.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(
        ImportError, match=r'needs fastapi, .* not installed: pip install "biounet-edge\[serve\]"'
    ):
        __import__("biounet_edge.service")
