"""What an ONNX graph would make a library do, found out before any library sees it.

A bundle may come from anyone, and its checksums only say that it is whole. A graph can name files as its
weights, call operators that a library loads from elsewhere, hold graphs inside of graphs, and ask for more
memory than there is. What `python -m export` writes does none of this, so everything of the kind is rejected.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.graph_memory import Graph, needed_bytes
from biounet_edge.bundle.manifest import GraphPrecision, Level
from biounet_edge.bundle.nodes import read_node
from biounet_edge.bundle.protobuf import read_fields
from biounet_edge.bundle.signature import Input, check_signature
from biounet_edge.bundle.tensors import read_tensor
from biounet_edge.errors import IntegrityError
from biounet_edge.photographs.memory import free_bytes

MAX_GRAPH_BYTES = 64 * 1024**3
"""Most memory that a graph may need for one photograph, where the system does not tell how much is free."""

_STANDARD = (b"", b"ai.onnx")  # domains of the operators that ONNX itself defines
_TYPES = {1: "float", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}  # TensorProto.DataType

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE_INITIALIZER = 1, 5, 11, 12, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_EXTERNAL_DATA = 13


@dataclass(slots=True)
class _Graph:
    """What the inspection found."""

    inputs: list[Input] = field(default_factory=list)
    sizes: Graph = field(default_factory=Graph)


def checked_graph(bundle: Bundle, level: Level, precision: GraphPrecision) -> Path:
    """Find the graph of a level, and reject it if it is not safe or not the manifest's.

    Args:
        bundle: The opened bundle.
        level: How much is computed.
        precision: Number format that the graph computes in.

    Returns:
        Path of the ONNX file.

    Raises:
        InputError: If the bundle has no such level, or not in that precision.
        IntegrityError: If the graph is damaged, reaches outside of the bundle, needs what ONNX has not, or
            needs more memory than is free.
        ManifestError: If its input or outputs are not those of the manifest.
    """
    path = bundle.graph(level, precision)
    found = _inspect(bundle, path.name)
    check_signature(bundle, level, path.name, found.inputs, found.sizes.outputs)
    return path


def check_content(bundle: Bundle, graph: str) -> None:
    """Reject a graph that is not safe, a level's or a component's.

    Args:
        bundle: The opened bundle.
        graph: Its file name.

    Raises:
        IntegrityError: If the graph is damaged, reaches outside of the bundle, needs what ONNX has not, or
            needs more memory than is free.
    """
    _inspect(bundle, graph)


def _inspect(bundle: Bundle, name: str) -> _Graph:
    try:
        content = (bundle.folder / name).read_bytes()
    except OSError as error:
        raise IntegrityError(f"{name} cannot be read ({error.strerror}): fetch the bundle again") from error
    return _inspect_content(bundle, name, content)


def _inspect_content(bundle: Bundle, name: str, content: bytes) -> _Graph:
    found = _Graph()
    try:
        problem = next(_problems(memoryview(content), bundle, found), None)
    except ValueError as error:
        raise IntegrityError(f"{name} is no ONNX graph ({error}): fetch the bundle again") from error
    if problem:
        raise IntegrityError(
            f"{name} {problem}, which no graph of this program does: do not use the bundle "
            f"{bundle.manifest.name}, and fetch it from where it was made"
        )
    _check_memory(found.sizes, bundle, name)
    return found


def _check_memory(graph: Graph, bundle: Bundle, name: str) -> None:
    try:
        needed = needed_bytes(graph)
    except ValueError as error:
        raise IntegrityError(
            f"{name} may need memory without bound ({error}), which no graph of this program does: do not "
            f"use the bundle {bundle.manifest.name}, and fetch it from where it was made"
        ) from error
    free = free_bytes()
    most, why = (MAX_GRAPH_BYTES, "allowed") if free is None else (free, "free")
    if needed > most:
        raise IntegrityError(
            f"{name} needs {needed / 1e6:,.0f} MB of memory for one photograph, and {most / 1e6:,.0f} MB are "
            f"{why}: free some, choose a lower level, or use another bundle than {bundle.manifest.name}"
        )


def _problems(model: memoryview, bundle: Bundle, found: _Graph) -> Iterator[str]:
    graphs = 0
    for number, value in read_fields(model):
        if not isinstance(value, memoryview):
            continue
        if number == _MODEL_GRAPH:
            graphs += 1
            yield from _graph_problems(value, bundle, found)
        elif number == _MODEL_OPSET:
            yield from _domain_problems(value, 1)
        elif number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            yield "defines functions or training steps"
    if graphs != 1:
        raise ValueError(f"expected one graph, found {graphs}")


def _graph_problems(graph: memoryview, bundle: Bundle, found: _Graph) -> Iterator[str]:
    for number, value in read_fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE:
            yield from _node_problems(value, bundle)
            found.sizes.nodes.append(read_node(value))
        elif number == _INITIALIZER:
            yield from _tensor_problems(value, bundle, found.sizes)
        elif number == _INPUT:
            name, kind, sizes = _input(value)
            found.inputs.append((name, kind, tuple(-1 if size is None else size for size in sizes[1:])))
            found.sizes.inputs[name] = sizes
        elif number == _OUTPUT:
            found.sizes.outputs.append(_text(value, 1))
        elif number == _SPARSE_INITIALIZER:
            yield "has sparse weights"


def _node_problems(node: memoryview, bundle: Bundle) -> Iterator[str]:
    for number, value in read_fields(node):
        if number == _NODE_DOMAIN and isinstance(value, memoryview):
            if value not in _STANDARD:
                yield f"calls an operator of {_readable(value)}"
        elif number == _NODE_ATTRIBUTE and isinstance(value, memoryview):
            for kind, content in read_fields(value):
                if not isinstance(content, memoryview):
                    continue
                if kind in _ATTRIBUTE_TENSORS:
                    yield from _tensor_problems(content, bundle)
                elif kind in _ATTRIBUTE_GRAPHS:
                    yield "has a graph inside of a node"
                elif kind in _ATTRIBUTE_SPARSE:
                    yield "has sparse weights"


def _tensor_problems(tensor: memoryview, bundle: Bundle, found: Graph | None = None) -> Iterator[str]:
    """Find the weights that are not in the graph's own file, and note all of them."""
    place: dict[bytes, bytes] = {}
    for number, value in read_fields(tensor):
        if number == _EXTERNAL_DATA and isinstance(value, memoryview):
            entry = [(kind, bytes(text)) for kind, text in read_fields(value) if isinstance(text, memoryview)]
            pair = dict(entry)
            if sorted(kind for kind, _ in entry) != [1, 2] or pair[1] in place:
                raise ValueError("the place of a weight is not written as key and value, each once")
            place[pair[1]] = pair[2]
    if not place:
        _note(tensor, None, found)
        return
    name = place.get(b"location", b"").decode("utf-8", "backslashreplace")
    spec = bundle.manifest.files.get(name)
    if spec is None:
        yield f"has weights in {name!r}, which is no file of the bundle"
        return
    offset, length = int(place.get(b"offset", b"0")), int(place.get(b"length", b"0"))
    if min(offset, length) < 0 or offset + length > spec.bytes:
        yield f"has weights outside of {name}, at byte {offset} of {spec.bytes}"
        return
    _note(tensor, length if b"length" in place else spec.bytes - offset, found)


def _note(tensor: memoryview, external_bytes: int | None, found: Graph | None) -> None:
    """Compare what a tensor declares with what there is of it, and note it where it is a weight."""
    name, content = read_tensor(tensor, external_bytes)
    if found is not None:
        if name in found.constants:
            raise ValueError(f"the weight {name!r} is there twice")
        found.constants[name] = content


def _domain_problems(message: memoryview, domain: int) -> Iterator[str]:
    for number, value in read_fields(message):
        if number == domain and isinstance(value, memoryview) and value not in _STANDARD:
            yield f"needs the operators of {_readable(value)}"


def _input(value_info: memoryview) -> tuple[str, str, tuple[int | None, ...]]:
    """Name, number format and sizes of a ValueInfoProto; None where a size is free."""
    element, sizes = 0, list[int | None]()
    for tensor_type in _messages(value_info, 2, 1):
        for number, value in read_fields(tensor_type):
            if number == 1 and isinstance(value, int):
                element = value
        for dimension in _messages(tensor_type, 2, 1):
            fixed = [value for kind, value in read_fields(dimension) if kind == 1 and isinstance(value, int)]
            sizes.append(fixed[-1] if fixed else None)
    return _text(value_info, 1), _TYPES.get(element, f"type {element}"), tuple(sizes)


def _messages(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield the messages at a path of field numbers."""
    for number, value in read_fields(message):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from _messages(value, *path[1:])


def _text(message: memoryview, field_number: int) -> str:
    texts = [value for number, value in read_fields(message) if number == field_number]
    return _readable(texts[-1]) if texts and isinstance(texts[-1], memoryview) else ""


def _readable(text: memoryview) -> str:
    return bytes(text).decode("utf-8", "backslashreplace")
