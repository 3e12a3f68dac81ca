import time
from pathlib import Path

import pytest

from biounet_edge import Bundle, IntegrityError, ManifestError, Predictor
from biounet_edge.bundle.graph_inspection import check_content, checked_graph

from .graphs import ATTRIBUTE, GRAPH, INITIALIZER, INPUT, message, node, varint


def external(*pairs: tuple[bytes, bytes]) -> bytes:
    """A weight that lies elsewhere."""
    places = (message(13, message(1, key), message(2, value)) for key, value in pairs)
    return (
        message(8, b"w")
        + varint(1 << 3)
        + b"\x01"
        + varint(2 << 3)
        + b"\x01"
        + b"".join(places)
        + b"\x70\x01"
    )


def check(bundle: Bundle) -> Path:
    return checked_graph(bundle, "classify", "float32")


def test_every_graph_of_the_bundle_passes(bundle):
    for level, spec in bundle.manifest.levels.items():
        for precision in spec.graphs:
            assert checked_graph(bundle, level, precision) == bundle.graph(level, precision)
    for name in bundle.manifest.files:
        if name.endswith(".onnx"):
            check_content(bundle, name)


def test_inspection_does_not_delay_the_start(bundle):
    start = time.process_time()
    checked_graph(bundle, "full", "float32")
    assert time.process_time() - start < 2  # 0.3 s on an idle core


def test_unchanged_graph_that_was_taken_apart_still_passes(tampered):
    assert check(tampered()).name == "classify.onnx"


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ([(b"location", b"../../etc/passwd")], r"weights in '../../etc/passwd', which is no file of"),
        ([(b"location", b"/etc/passwd")], r"weights in '/etc/passwd'"),
        ([(b"location", b"./weights.bin")], r"weights in './weights.bin'"),
        ([(b"location", b"manifest.json")], r"weights in 'manifest.json'"),
        ([(b"location", b"\xff")], r"weights in '\\\\xff'"),
        ([(b"offset", b"0")], r"weights in '', which is no file"),
        ([(b"location", b"weights.bin"), (b"offset", b"99999999999")], r"outside of weights.bin, at byte 9"),
        ([(b"location", b"weights.bin"), (b"offset", b"-1")], r"weights outside of weights.bin, at byte -1"),
        ([(b"location", b"weights.bin"), (b"length", b"99999999999")], r"weights outside of weights.bin"),
        ([(b"location", b"weights.bin"), (b"location", b"x")], r"no ONNX graph \(the place of a weight"),
        ([(b"location", b"weights.bin"), (b"offset", b"one")], r"no ONNX graph \(invalid literal for int"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_weights_outside_of_the_bundle_are_refused(tampered, where, place, problem):
    tensor = external(*place)
    extra = (
        message(INITIALIZER, tensor)
        if where == "initializer"
        else node(message(ATTRIBUTE, message(1, b"value"), message(5, tensor)))
    )
    with pytest.raises(IntegrityError, match=rf"classify.onnx .*{problem}"):
        check(tampered(extra))


def test_weights_inside_of_the_bundle_are_accepted(tampered):
    pairs = [(b"location", b"weights.bin"), (b"offset", b"64"), (b"length", b"4"), (b"checksum", b"ab")]
    check(tampered(message(INITIALIZER, external(*pairs))))


@pytest.mark.parametrize(
    ("in_graph", "in_model", "problem"),
    [
        (node(message(7, b"com.evil")), b"", "calls an operator of com.evil, which no graph of this"),
        (node(message(7, b"com.evil"), message(7, b"")), b"", "calls an operator of com.evil"),
        (node(message(7, b"ai.onnx.ml")), b"", "calls an operator of ai.onnx.ml"),
        (node(message(ATTRIBUTE, message(6, b""))), b"", "has a graph inside of a node"),
        (node(message(ATTRIBUTE, message(11, b""))), b"", "has a graph inside of a node"),
        (node(message(ATTRIBUTE, message(22, b""))), b"", "has sparse weights"),
        (message(15, b""), b"", "has sparse weights"),
        (b"", message(8, message(1, b"com.evil")), "needs the operators of com.evil"),
        (b"", message(25, b""), "defines functions or training steps"),
        (b"", message(20, b""), "defines functions or training steps"),
        (b"", message(GRAPH, node(message(7, b"com.evil"))), "calls an operator of com.evil"),
    ],
)  # fmt: skip
def test_what_the_exporter_does_not_write_is_refused(tampered, in_graph, in_model, problem):
    with pytest.raises(IntegrityError, match=f"classify.onnx {problem}"):
        check(tampered(in_graph, in_model))


def overlong(field: int, *parts: bytes) -> bytes:
    """A message whose field number needs more than the 32 bits that libraries read of it."""
    content = b"".join(parts)
    return varint((1 << 32) + (field << 3 | 2)) + varint(len(content)) + content


@pytest.mark.parametrize(
    ("in_graph", "in_model"),
    [
        (b"", overlong(GRAPH, node(message(7, b"com.evil")))),
        (b"", overlong(8, message(1, b"com.evil"))),
        (b"", overlong(25, b"")),
        (node(overlong(7, b"com.evil")), b""),
        (node(message(ATTRIBUTE, overlong(6, b""))), b""),
        (overlong(INITIALIZER, external((b"location", b"/etc/passwd"))), b""),
        (message(INITIALIZER, overlong(13, message(1, b"location"), message(2, b"/etc/passwd"))), b""),
    ],
)
def test_field_that_only_a_library_would_see_is_refused(tampered, in_graph, in_model):
    with pytest.raises(IntegrityError, match=r"no ONNX graph \(a field has a number that no message has\)"):
        check(tampered(in_graph, in_model))


@pytest.mark.parametrize("domain", [b"", b"ai.onnx"])
def test_operators_of_onnx_are_accepted(tampered, domain):
    check(tampered(node(message(7, domain))))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07", b"\x3a\x00\x3a\x00", b"\x3a\x7f"])
def test_what_is_no_graph_is_refused(tampered, content):
    with pytest.raises(
        IntegrityError, match=r"classify.onnx is no ONNX graph \(.*\): fetch the bundle again"
    ):
        check(tampered(content=content))


def test_second_input_is_refused_before_anything_is_loaded(tampered, monkeypatch):
    def load(*_):
        raise AssertionError("the graph was loaded")

    monkeypatch.setattr("biounet_edge.backends.onnx_runtime._make_session", load)
    changed = tampered(message(INPUT, message(1, b"other")))
    with pytest.raises(ManifestError, match=r"classify.onnx has the inputs .*'other'.*and the manifest says"):
        Predictor(changed, device="cpu", level="classify")


def test_custom_operator_is_refused_before_anything_is_loaded(tampered, monkeypatch):
    def load(*_):
        raise AssertionError("the graph was loaded")

    monkeypatch.setattr("biounet_edge.backends.onnx_runtime._make_session", load)
    with pytest.raises(IntegrityError, match=r"calls an operator of com.evil"):
        Predictor(tampered(node(message(7, b"com.evil"))), level="classify")


def test_graph_that_is_gone_is_named(bundle_copy):
    opened = Bundle.open(bundle_copy)
    (bundle_copy / "classify.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"classify.onnx cannot be read \(No such file or directory\)"):
        check(opened)
