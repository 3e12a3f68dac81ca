"""Rules of operators that put numbers elsewhere, or repeat them."""

import math
from collections.abc import Callable

from biounet_edge.bundle.nodes import Node
from biounet_edge.bundle.shapes.inputs import Inputs, Shape, broadcast


def _transpose(node: Node, inputs: Inputs) -> Shape:
    shape = inputs.tensor(0).shape
    return tuple(shape[axis] for axis in node.integers("perm", reversed(range(len(shape)))))


def _reshape(node: Node, inputs: Inputs) -> Shape:
    tensor, wanted = inputs.tensor(0), inputs.numbers(1, "sizes")
    zeros = node.integer("allowzero", 0)
    sizes = [tensor.shape[i] if size == 0 and not zeros else size for i, size in enumerate(wanted or [])]
    count, known = math.prod(tensor.shape), math.prod(size for size in sizes if size != -1)
    sizes = [count // max(known, 1) if size == -1 else size for size in sizes]
    if math.prod(sizes) != count or min(sizes, default=0) < 0:
        raise ValueError(f"a Reshape makes {sizes} of {tensor.shape}")
    return tuple(sizes)


def _flatten(node: Node, inputs: Inputs) -> Shape:
    shape = inputs.tensor(0).shape
    axis = node.integer("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def _squeeze(node: Node, inputs: Inputs) -> Shape:
    shape, axes = inputs.tensor(0).shape, inputs.axes(node)
    if axes is None:
        return tuple(size for size in shape if size != 1)
    gone = {axis % len(shape) for axis in axes}
    return tuple(size for i, size in enumerate(shape) if i not in gone)


def _unsqueeze(node: Node, inputs: Inputs) -> Shape:
    shape, axes = inputs.tensor(0).shape, inputs.axes(node) or []
    rank = len(shape) + len(axes)
    new, rest = {axis % rank for axis in axes}, iter(shape)
    return tuple(1 if i in new else next(rest) for i in range(rank))


def _concat(node: Node, inputs: Inputs) -> Shape:
    shapes = [tensor.shape for tensor in inputs.given]
    axis = node.integer("axis", 0) % len(shapes[0])
    return *shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]


def slices_of(node: Node, inputs: Inputs) -> tuple[slice, ...]:
    """Return what a Slice takes of each axis.

    Args:
        node: The node.
        inputs: What is known of its inputs.

    Returns:
        One slice per axis.

    Raises:
        ValueError: If that cannot be told.
    """
    shape = inputs.tensor(0).shape
    if "starts" in node.attributes:  # as an old version has it
        starts, ends, axes = (
            node.integers("starts"),
            node.integers("ends"),
            node.integers("axes", range(len(shape))),
        )
        steps = [1] * len(starts)
    else:
        starts, ends = inputs.numbers(1, "bounds") or [], inputs.numbers(2, "bounds") or []
        axes = inputs.numbers(3, "axes") or list(range(len(starts)))
        steps = inputs.numbers(4, "steps") or [1] * len(starts)
    slices = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before = step < 0 and end < -shape[axis]  # up to the first, which Python has no number for
        slices[axis] = slice(start, None if before else end, step)
    return tuple(slices)


def _slice(node: Node, inputs: Inputs) -> Shape:
    shape = inputs.tensor(0).shape
    return tuple(
        len(range(*part.indices(size))) for part, size in zip(slices_of(node, inputs), shape, strict=True)
    )


def _gather(node: Node, inputs: Inputs) -> Shape:
    data, places = inputs.tensor(0).shape, inputs.tensor(1).shape
    axis = node.integer("axis", 0) % len(data)
    return data[:axis] + places + data[axis + 1 :]


def _gather_nd(node: Node, inputs: Inputs) -> Shape:
    data, places = inputs.tensor(0).shape, inputs.tensor(1).shape
    return places[:-1] + data[node.integer("batch_dims", 0) + places[-1] :]


def _split(node: Node, inputs: Inputs) -> list[Shape]:
    shape = inputs.tensor(0).shape
    axis, parts = node.integer("axis", 0) % len(shape), len(node.outputs)
    sizes = node.integers("split") if "split" in node.attributes else inputs.numbers(1, "parts")
    most = -(-shape[axis] // parts)
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes or [most] * parts]


def _expand(node: Node, inputs: Inputs) -> Shape:
    return broadcast([inputs.tensor(0).shape, tuple(inputs.numbers(1, "sizes") or ())])


def _tile(node: Node, inputs: Inputs) -> Shape:
    repeats = inputs.numbers(1, "repeats") or []
    return tuple(size * count for size, count in zip(inputs.tensor(0).shape, repeats, strict=True))


def _pad(node: Node, inputs: Inputs) -> Shape:
    shape, axes = inputs.tensor(0).shape, inputs.numbers(3, "axes")
    pads = node.integers("pads") if "pads" in node.attributes else inputs.numbers(1, "pads") or []
    sizes, places = list(shape), axes if axes is not None else list(range(len(shape)))
    for i, axis in enumerate(places):
        sizes[axis] += pads[i] + pads[i + len(places)]
    return tuple(sizes)


def _constant_of_shape(node: Node, inputs: Inputs) -> Shape:
    return tuple(inputs.numbers(0, "sizes") or ())


REARRANGING: dict[str, Callable[[Node, Inputs], Shape | list[Shape]]] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": lambda node, inputs: inputs.tensor(1).shape,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By operator."""
