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

from .bundle.graphs import GRAPH, computed, integer, integers, message

THRESHOLD = 100.0
"""Grey level below which a photograph is unfamiliar to the bundle under test."""

SPEC = FamiliaritySpec(threshold=THRESHOLD, score="mean grey level", source="A. Tester, 2026")

_FLOAT = 1  # TensorProto.DataType
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
    """Adds ReduceMean(Cast(image)) to the graph of a model."""
    shape = message(1, message(2, b"N"))
    value_type = message(1, integer(1, _FLOAT), message(2, shape))
    added = (
        computed("Cast", image, "grey_values", to=_FLOAT),
        computed("ReduceMean", "grey_values grey_axes", FAMILIARITY, keepdims=0),
        integers("grey_axes", 1, 2, 3),
        message(_OUTPUT, message(1, FAMILIARITY.encode()), message(2, value_type)),
    )
    return _with_graph(model, _graph_of(model), *added)


def _without_output(model: bytes) -> bytes:
    """Takes the output from the graph, and its name from the tensors, so that another may have it."""
    score = FAMILIARITY.encode()
    kept = b"".join(
        message(number, bytes(value))
        for number, value in read_fields(_graph_of(model))
        if isinstance(value, memoryview) and not (number == _OUTPUT and _name_of(value) == score)
    )
    return _with_graph(model, kept.replace(score, _UNUSED))


def _graph_of(model: bytes) -> memoryview:
    graph = next(value for number, value in read_fields(memoryview(model)) if number == GRAPH)
    assert isinstance(graph, memoryview)
    return graph


def _with_graph(model: bytes, *graph: bytes | memoryview) -> bytes:
    parts = []
    for number, value in read_fields(memoryview(model)):
        if isinstance(value, int):
            parts.append(integer(number, value))
        else:
            parts.append(message(number, *(graph if number == GRAPH else (value,))))
    return b"".join(parts)


def _name_of(value_info: memoryview) -> bytes:
    return next(bytes(value) for number, value in read_fields(value_info) if number == 1)  # type: ignore[arg-type]
