import hashlib
import threading
import time

import pytest

from biounet_edge import BackendUnavailableError, ImageError, InputError, PredictionFailure, Predictor
from biounet_edge.photographs.decoding import decode, opened_photograph

from .predictions import assert_same


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_stream_equals_single_predictions_in_input_order(predictor, paths, batch_size):
    streamed = list(predictor.stream(paths, batch_size=batch_size))
    assert [prediction.source for prediction in streamed] == [str(path) for path in paths]
    for prediction, path in zip(streamed, paths, strict=True):
        assert_same(prediction, predictor.predict(path))


def test_stream_goes_on_behind_a_broken_file(predictor, paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:500])
    outcomes = list(predictor.stream([broken, paths[0], broken, broken, paths[1]], batch_size=2))
    assert [isinstance(outcome, PredictionFailure) for outcome in outcomes] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert outcomes[0].source == str(broken)
    assert outcomes[0].error.startswith("the PNG image is truncated")
    assert outcomes[4].source == str(paths[1])


def test_stream_looks_at_most_two_batches_ahead(predictor, photograph):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield photograph

    stream = predictor.stream(endless(), batch_size=3)
    for done in range(1, 11):
        next(stream)
        assert taken <= done + 2 * 3
    stream.close()
    assert threading.active_count() < 50


def test_stream_decodes_while_the_caller_works(bundle, photograph, monkeypatch):
    decoding = threading.Event()
    with Predictor(bundle, level="classify") as predictor:
        prepare = predictor._prepare

        def observed(source, *arguments):
            if source is late:
                decoding.set()
            return prepare(source, *arguments)

        monkeypatch.setattr(predictor, "_prepare", observed)
        late = photograph.copy()
        stream = predictor.stream([photograph, late, photograph], batch_size=1)
        next(stream)
        assert decoding.wait(5)
        assert len(list(stream)) == 2


def test_stream_computes_while_the_caller_works(bundle, photograph, monkeypatch):
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        run, second = predictor.backend.run, threading.Event()
        batches = []

        def observed(images):
            batches.append(len(images))
            if len(batches) == 2:
                second.set()
            return run(images)

        monkeypatch.setattr(predictor.backend, "run", observed)
        stream = predictor.stream([photograph] * 5, batch_size=2)
        next(stream)
        assert second.wait(5)
        assert len(list(stream)) == 4
        assert batches == [2, 2, 1]


def test_stream_gives_the_first_batch_before_the_second_is_decoded(bundle, photograph, monkeypatch):
    delivered = threading.Event()
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        prepare, second = predictor._prepare, photograph.copy()

        def slow(source, *arguments):
            if source is second:
                assert delivered.wait(10), "the first result waited for the second batch"
            return prepare(source, *arguments)

        monkeypatch.setattr(predictor, "_prepare", slow)
        stream = predictor.stream([photograph, photograph, second, second], batch_size=2)
        next(stream)
        delivered.set()
        assert len(list(stream)) == 3


def test_stream_passes_a_failing_backend_on_and_ends(bundle, photograph, monkeypatch):
    with Predictor(bundle, device="cpu", level="classify") as predictor:

        def fails(images):
            raise BackendUnavailableError("out of memory")

        monkeypatch.setattr(predictor.backend, "run", fails)
        with pytest.raises(BackendUnavailableError, match="out of memory"):
            list(predictor.stream([photograph] * 9, batch_size=2))
    assert not any(thread.name.startswith(("decode", "device")) for thread in threading.enumerate())


def test_stream_of_nothing_is_empty(predictor):
    assert list(predictor.stream([])) == []


def test_stream_wants_a_positive_batch_size(predictor, photograph):
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        next(predictor.stream([photograph], batch_size=0))


def test_stream_carries_a_preview_only_where_asked(predictor, photograph):
    assert next(predictor.stream([photograph])).preview is None
    assert next(predictor.stream([photograph], preview_px=60)).preview.shape == (45, 60, 3)


def test_abandoned_stream_leaves_no_threads(predictor, paths):
    stream = predictor.stream(paths * 3, batch_size=1)
    next(stream)
    stream.close()
    deadline = time.monotonic() + 5
    names = ("decode", "device")
    while any(t.name.startswith(names) for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.name.startswith(names) for thread in threading.enumerate())


def test_outcomes_carry_the_checksum_of_the_content(predictor, paths, tmp_path):
    whole = paths[0].read_bytes()
    broken = tmp_path / "broken.png"
    broken.write_bytes(whole[:500])
    sources = [paths[0], whole, broken, tmp_path / "missing", decode(whole)]
    checksums = [outcome.sha256 for outcome in predictor.stream(sources)]
    expected = hashlib.sha256(whole).hexdigest()
    assert checksums == [expected, expected, hashlib.sha256(whole[:500]).hexdigest(), None, None]


def test_stream_goes_on_where_an_image_does_not_fit_into_the_memory(predictor, paths, monkeypatch):
    def too_large(*_):
        raise MemoryError

    monkeypatch.setattr("biounet_edge.photographs.source.opened_photograph", too_large)
    (failure,) = predictor.stream([paths[0]])
    assert failure.error == "the image is too large for the memory that is free now"
    assert failure.sha256 is None


def test_stream_holds_one_large_file_at_a_time(predictor, paths, monkeypatch):
    held, most = [], []

    def read(data, *options):
        held.append(data)
        most.append(len(held))
        time.sleep(0.02)
        held.pop()
        return opened_photograph(data, *options)

    monkeypatch.setattr("biounet_edge.photographs.source.opened_photograph", read)
    monkeypatch.setattr("biounet_edge.photographs.file.LARGE_FILE_BYTES", 100)
    assert not any(isinstance(outcome, PredictionFailure) for outcome in predictor.stream(paths))
    assert max(most) == 1


@pytest.mark.parametrize(
    "cause", [OSError(5, "Input/output error"), ImportError(), MemoryError(), ValueError()]
)
def test_failure_has_the_checksum_of_the_content_only_where_it_is_the_contents(
    predictor, photograph, monkeypatch, cause
):
    def fail(*_):
        raise ImageError("the image cannot be decoded") from cause

    monkeypatch.setattr("biounet_edge.photographs.source.opened_photograph", fail)
    (outcome,) = predictor.stream([b"content"])
    assert outcome.error == "the image cannot be decoded"
    assert (outcome.sha256 is not None) == isinstance(cause, ValueError)
