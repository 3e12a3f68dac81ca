"""How much memory a graph needs for one photograph, found out before any library allocates it.

Libraries compute what depends on no input while they load a graph, so a few bytes may ask for terabytes
before the first photograph. Each node's outputs are sized in the order of the file, and what is still to be
read later is added up. Twice: with one photograph, and with many, where a graph of this program grows as the
batch does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from biounet_edge.bundle.nodes import Node
from biounet_edge.bundle.shapes.inference import shapes_of, values_of
from biounet_edge.bundle.shapes.inputs import Inputs
from biounet_edge.bundle.shapes.rearranging import REARRANGING
from biounet_edge.bundle.shapes.windows import WINDOWS
from biounet_edge.bundle.tensors import ITEM_BYTES, Tensor, read_tensor

MANY = 64
"""Photographs in a batch that no input of a graph may make grow faster than their number."""

_FOREVER = 1 << 62


@dataclass(slots=True)
class Graph:
    """What decides how much memory a graph needs."""

    inputs: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    """Sizes by name; None where a size is free."""
    outputs: list[str] = field(default_factory=list)
    """Names."""
    constants: dict[str, Tensor] = field(default_factory=dict)
    """Weights and others, by name."""
    nodes: list[Node] = field(default_factory=list)
    """In the order of the file."""


def needed_bytes(graph: Graph) -> int:
    """Return the most memory that tensors take at one time, for one photograph.

    Args:
        graph: A graph whose constants are what they declare.

    Returns:
        Bytes, weights included; what a library needs besides is not counted.

    Raises:
        ValueError: If it cannot be told, or grows faster than the batch.
    """
    one, many = _sized(graph, 1), _sized(graph, MANY)
    for name, tensor in many.items():
        if tensor.bytes > MANY * one[name].bytes:
            raise ValueError(f"the tensor {name!r} grows faster than the number of photographs")
    return _peak(graph, one)


def _sized(graph: Graph, batch: int) -> dict[str, Tensor]:
    """Return every tensor of the graph, by name."""
    tensors = dict(graph.constants)
    for name, sizes in graph.inputs.items():
        if name in tensors:
            continue
        if None in sizes[1:]:
            raise ValueError(f"the input {name!r} has sizes that are free")
        tensors[name] = Tensor(tuple(batch if size is None else size for size in sizes))
    for node in graph.nodes:
        for name, tensor in zip(node.outputs, _computed(node, tensors), strict=True):
            if name in tensors and name:
                raise ValueError(f"the tensor {name!r} is computed twice")
            tensors[name] = tensor
    return tensors


def _computed(node: Node, tensors: Mapping[str, Tensor]) -> Sequence[Tensor]:
    if not node.outputs:
        raise ValueError(f"a node {node.operator} has no output")
    if node.operator == "Constant":
        return [_constant(node)]
    if missing := [name for name in node.inputs if name and name not in tensors]:
        raise ValueError(f"it reads {missing[0]!r}, which nothing has computed before")
    inputs = Inputs(tensors[name] if name else None for name in node.inputs)
    try:
        shapes = shapes_of(node, inputs)
        values = values_of(node, inputs, shapes[0])
    except (ValueError, ArithmeticError, IndexError, TypeError) as error:
        raise ValueError(f"the size of {node.outputs[0]!r} cannot be told: {error}") from error
    if any(size < 1 for shape in shapes for size in shape):
        raise ValueError(f"the tensor {node.outputs[0]!r} would have the sizes {shapes[0]}")
    constant = bool(inputs.given) and all(tensor.is_constant for tensor in inputs.given)
    item_bytes = _item_bytes(node, inputs)
    # Further outputs, of normalization, are no larger than the last one that is known.
    shapes += [shapes[-1]] * (len(node.outputs) - len(shapes))
    return [
        Tensor(shape, item_bytes, values if i == 0 else None, constant)
        for i, shape in enumerate(shapes[: len(node.outputs)])
    ]


def _item_bytes(node: Node, inputs: Inputs) -> int:
    if node.operator == "Cast":
        return ITEM_BYTES.get(node.integer("to", 1), 8)
    if node.operator == "DequantizeLinear":
        return 4
    # Inputs after the first of an operator that moves numbers say where to.
    given = inputs.given[:1] if node.operator in REARRANGING or node.operator in WINDOWS else inputs.given
    return max((tensor.item_bytes for tensor in given), default=8)


def _constant(node: Node) -> Tensor:
    value = node.attributes.get("value")
    if not isinstance(value, memoryview):
        raise ValueError(f"the constant {node.outputs[0]!r} is not written as a tensor")
    return replace(read_tensor(value, None)[1], is_constant=True)


def _peak(graph: Graph, tensors: Mapping[str, Tensor]) -> int:
    """Follow what is in memory from node to node."""
    last = dict.fromkeys(graph.outputs, _FOREVER)
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            # What was computed while loading stays for every photograph.
            stays = name and tensors[name].is_constant and not tensors[node.outputs[0]].is_constant
            last[name] = _FOREVER if stays else max(i, last.get(name, i))
    held = sum(tensor.bytes for tensor in graph.constants.values())
    held += sum(tensors[name].bytes for name in graph.inputs if name not in graph.constants)
    peak = held
    for i, node in enumerate(graph.nodes):
        held += sum(tensors[name].bytes for name in node.outputs if name)
        peak = max(peak, held)
        done = {*node.inputs, *node.outputs} - graph.constants.keys() - graph.inputs.keys() - {""}
        held -= sum(tensors[name].bytes for name in done if last.get(name, i) <= i)
    return peak
