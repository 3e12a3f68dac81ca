"""Bundles without the output `familiarity`, and with one that tests can choose: the mean grey level.

The graphs are changed byte by byte, since the runtime's tests need no onnx.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from biounet_edge import Bundle
from biounet_edge.bundle.golden import read_golden
from biounet_edge.bundle.manifest import FAMILIARITY, FamiliaritySpec, FileSpec, OutputSpec
from biounet_edge.bundle.protobuf import read_fields

THRESHOLD = 100.0
"""Grey level below which a photograph is unfamiliar to the bundle under test."""

SPEC = FamiliaritySpec(threshold=THRESHOLD, score="mean grey level", source="A. Tester, 2026")

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_GRAPH = 7  # field of ModelProto
_OUTPUT = 12  # field of GraphProto
_UNUSED = b"unlikeness_"  # as long as the name it replaces, so that no length changes


def make_not_judging(bundle: Bundle) -> Bundle:
    """Takes the output, its golden values and its section in the manifest from a copy of a bundle."""
    folder, manifest = bundle.folder, bundle.manifest
    if manifest.familiarity is None:
        return bundle
    for path in _graphs(bundle):
        path.write_bytes(_without_output(path.read_bytes()))
    golden = read_golden(folder / "golden.npz")
    outputs = {name: values for name, values in golden.outputs.items() if name != FAMILIARITY}
    np.savez(folder / "golden.npz", image=golden.image, **outputs)
    levels = {
        name: spec.model_copy(update={"outputs": [of for of in spec.outputs if of != FAMILIARITY]})
        for name, spec in manifest.levels.items()
    }
    described = {name: spec for name, spec in manifest.outputs.items() if name != FAMILIARITY}
    return _write(bundle, levels=levels, outputs=described, familiarity=None)


def make_judging(bundle: Bundle) -> Bundle:
    """Gives a copy of a bundle without the output one, its golden values and its section in the manifest."""
    folder, manifest = bundle.folder, bundle.manifest
    for path in _graphs(bundle):
        path.write_bytes(_with_output(path.read_bytes(), manifest.input.name))
    golden = read_golden(folder / "golden.npz")
    grey = golden.image.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
    np.savez(folder / "golden.npz", image=golden.image, **golden.outputs, **{FAMILIARITY: grey})
    levels = {
        name: spec.model_copy(update={"outputs": [*spec.outputs, FAMILIARITY]})
        for name, spec in manifest.levels.items()
    }
    described = manifest.outputs | {FAMILIARITY: OutputSpec(shape=["N"], meaning="mean grey level")}
    return _write(bundle, levels=levels, outputs=described, familiarity=SPEC)


def _graphs(bundle: Bundle) -> Iterator[Path]:
    for spec in bundle.manifest.levels.values():
        yield from (bundle.folder / graph for graph in spec.graphs.values())


def _write(bundle: Bundle, **changes: object) -> Bundle:
    """Writes the manifest with other fields, and with what the files are now."""
    files = {name: _file_spec(bundle.folder / name) for name in bundle.manifest.files}
    changed = bundle.manifest.model_copy(update={**changes, "files": files})
    (bundle.folder / "manifest.json").write_text(changed.to_json(), encoding="utf-8")
    return Bundle.open(bundle.folder)


def _file_spec(path: Path) -> FileSpec:
    content = path.read_bytes()
    return FileSpec(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _with_output(model: bytes, image: str) -> bytes:
    """Adds ReduceMean(Cast(image)) to the graph of a model; field numbers are those of onnx.proto3."""
    to_float = _node("Cast", [image], "grey_values", _text(1, "to") + _number(3, _FLOAT) + _number(20, 2))
    keep = _text(1, "keepdims") + _number(3, 0) + _number(20, 2)
    mean = _node("ReduceMean", ["grey_values", "grey_axes"], FAMILIARITY, keep)
    axes = _number(1, 3) + _number(2, _INT64) + _text(8, "grey_axes")
    axes += _bytes(9, np.array([1, 2, 3], "<i8").tobytes())
    shape = _bytes(1, _text(2, "N"))
    output = _text(1, FAMILIARITY) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))
    added = _bytes(1, to_float) + _bytes(1, mean) + _bytes(5, axes) + _bytes(12, output)
    graph = next(value for number, value in read_fields(memoryview(model)) if number == _GRAPH)
    assert isinstance(graph, memoryview)
    return _with_graph(model, bytes(graph) + added)


def _without_output(model: bytes) -> bytes:
    """Takes the output from the graph, and its name from the tensors, so that another may have it."""
    graph = next(value for number, value in read_fields(memoryview(model)) if number == _GRAPH)
    assert isinstance(graph, memoryview)
    score = FAMILIARITY.encode()
    kept = b"".join(
        _bytes(number, bytes(value))
        for number, value in read_fields(graph)
        if isinstance(value, memoryview) and not (number == _OUTPUT and _name_of(value) == score)
    )
    return _with_graph(model, kept.replace(score, _UNUSED))


def _with_graph(model: bytes, graph: bytes) -> bytes:
    fields = (
        (number, graph if number == _GRAPH else value) for number, value in read_fields(memoryview(model))
    )
    return b"".join(
        _number(number, value) if isinstance(value, int) else _bytes(number, bytes(value))
        for number, value in fields
    )


def _name_of(value_info: memoryview) -> bytes:
    return next(bytes(value) for number, value in read_fields(value_info) if number == 1)  # type: ignore[arg-type]


def _node(kind: str, inputs: list[str], output: str, attribute: bytes) -> bytes:
    names = b"".join(_text(1, name) for name in inputs)
    return names + _text(2, output) + _text(3, output) + _text(4, kind) + _bytes(5, attribute)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
