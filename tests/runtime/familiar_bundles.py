"""A bundle whose graphs have the output `familiarity`: the mean grey level, so that tests can choose it.

The graphs are changed byte by byte, since the runtime's tests need no onnx.
"""

import hashlib
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


def make_judging(bundle: Bundle) -> Bundle:
    """Gives a copy of a bundle the output, its golden values and its section in the manifest."""
    folder, manifest = bundle.folder, bundle.manifest
    for spec in manifest.levels.values():
        for graph in spec.graphs.values():
            path = folder / graph
            path.write_bytes(_with_output(path.read_bytes(), manifest.input.name))
    golden = read_golden(folder / "golden.npz")
    grey = golden.image.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
    np.savez(folder / "golden.npz", image=golden.image, **golden.outputs, **{FAMILIARITY: grey})
    levels = {
        name: spec.model_copy(update={"outputs": [*spec.outputs, FAMILIARITY]})
        for name, spec in manifest.levels.items()
    }
    changed = manifest.model_copy(
        update={
            "levels": levels,
            "outputs": manifest.outputs | {FAMILIARITY: OutputSpec(shape=["N"], meaning="mean grey level")},
            "familiarity": SPEC,
            "files": {name: _file_spec(folder / name) for name in manifest.files},
        }
    )
    (folder / "manifest.json").write_text(changed.to_json(), encoding="utf-8")
    return Bundle.open(folder)


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
    parts = []
    for number, value in read_fields(memoryview(model)):
        if isinstance(value, int):
            parts.append(_number(number, value))
        else:
            parts.append(_bytes(number, bytes(value) + (added if number == _GRAPH else b"")))
    return b"".join(parts)


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
