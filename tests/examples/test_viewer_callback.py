import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biounet_edge import Predictor
from examples.viewer_callback import Findings, show

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))


@pytest.fixture(scope="module")
def predictor():
    with Predictor(device="cpu") as full:
        yield full


def test_script_shows_the_last_selection():
    command = [sys.executable, "-m", "examples.viewer_callback", *map(str, SAMPLES[:3])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.splitlines()[-1].startswith(f"{SAMPLES[2]}: melanoma ")


def test_selection_that_was_overtaken_is_not_delivered(predictor):
    begun, go_on, shown = threading.Event(), threading.Event(), []

    class Slow:
        bundle = predictor.bundle

        def predict(self, path):
            begun.set()
            assert go_on.wait(60)
            return predictor.predict(path)

    findings = Findings(Slow(), lambda path, *_: shown.append(path))
    findings.select(SAMPLES[0])
    assert begun.wait(60)
    for path in SAMPLES[1:4]:
        findings.select(path)
    go_on.set()
    findings.close()
    assert shown == [SAMPLES[3]]


def test_unreadable_photograph_is_delivered_with_its_reason(predictor, tmp_path):
    shown = []
    findings = Findings(predictor, lambda *result: shown.append(result))
    findings.select(tmp_path / "gone.jpg")
    findings.close()
    assert shown == [(tmp_path / "gone.jpg", None, None, "there is no such file")]


def test_show_tells_an_undecided_indicator_from_an_absent_one(predictor, capsys):
    prediction = predictor.predict(SAMPLES[0])
    findings = {
        "streaks": replace(prediction.indicators["streaks"], present=None, probability=0.4),
        "globules": replace(prediction.indicators["globules"], present=False),
    }
    undecided = replace(prediction, melanoma_probability=0.25, indicators=findings)
    show(SAMPLES[0], undecided, np.zeros((30, 40, 3), np.uint8), "")
    assert capsys.readouterr().out == (
        f"{SAMPLES[0]}: melanoma 25.0%, no indicator; probability only: streaks 40%; overlay 40 x 30\n"
    )


def test_mistake_in_the_callback_is_raised(predictor):
    findings = Findings(predictor, lambda *_: 1 / 0)
    findings.select(SAMPLES[0])
    with pytest.raises(ZeroDivisionError):
        findings.close()
