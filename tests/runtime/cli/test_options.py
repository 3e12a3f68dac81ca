import inspect
import signal
import threading
from dataclasses import replace
from typing import get_args

import pytest
from typer.models import OptionInfo

from biounet_edge.cli.benchmark import benchmark
from biounet_edge.cli.predict import predict
from biounet_edge.cli.watch import _sentence, _set_on_signals, watch


@pytest.mark.parametrize("command", [watch, benchmark])
def test_options_of_one_name_are_the_same_for_every_command(command):
    def options(function):
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.annotation for p in parameters if isinstance(get_args(p.annotation)[1], OptionInfo)}

    same = options(predict).keys() & options(command).keys()
    assert {"level", "device", "precision"} <= same
    for name in same - {"as_json"}:  # whose help says what is printed
        assert options(command)[name] is options(predict)[name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_ends_a_watch_waits_for_no_lock(number):
    threads, called = [], threading.Event()

    class Stop(threading.Event):
        def set(self):
            threads.append(threading.current_thread())
            called.set()

    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _set_on_signals(Stop())
        signal.raise_signal(number)
        assert called.wait(10)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize(
    ("globules", "words"),
    [
        (True, "globules; probability only: streaks 40%"),
        (False, "no indicator; probability only: streaks 40%"),
    ],
)
def test_line_of_a_watch_tells_an_undecided_indicator_from_an_absent_one(
    undecided_predictor, photograph, globules, words
):
    prediction = undecided_predictor.predict(photograph)
    findings = {
        "streaks": replace(prediction.indicators["streaks"], probability=0.4),
        "globules": replace(prediction.indicators["globules"], present=globules),
    }
    line = _sentence(replace(prediction, source="a.jpg", melanoma_probability=0.25, indicators=findings))
    assert line == f"a.jpg: melanoma 25.0%, {words}"
