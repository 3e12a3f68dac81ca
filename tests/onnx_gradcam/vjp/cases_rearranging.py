"""Operators that arrange elements anew."""

from math import prod

import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import Case, Sample, free_axes, generators, int64, numbers, shapes


@st.composite
def reshapes(draw: st.DrawFn) -> Sample:
    a, b, c = shape = draw(shapes(3, 3))
    target = draw(
        st.sampled_from([(-1,), (0, -1), (a * b, c), (c, b, a), (0, 0, -1, 1), (1, -1, b), (a, 1, b, c)])
    )
    free = {0} if target in ((-1,), (0, -1), (0, 0, -1, 1)) and draw(st.booleans()) else ()
    return Sample([numbers(draw(generators()), *shape), int64(*target)], free=free)


@st.composite
def flattens(draw: st.DrawFn) -> Sample:
    shape = draw(shapes())
    given = draw(st.fixed_dictionaries({}, optional={"axis": st.integers(-len(shape), len(shape))}))
    return Sample([numbers(draw(generators()), *shape)], given, free=draw(free_axes(len(shape))))


@st.composite
def squeezes(draw: st.DrawFn, unsqueeze: bool = False) -> Sample:
    """Axes of size 1 at random places, counted from either end; Squeeze may leave them out."""
    shape = list(draw(shapes(1, 3)))
    axes = draw(st.sets(st.integers(0, len(shape)), min_size=1, max_size=2).map(sorted))
    longer = shape.copy()
    for axis in axes:
        longer.insert(axis, 1)
    named = int64(*(axis - draw(st.sampled_from([0, len(longer)])) for axis in axes))
    x = numbers(draw(generators()), *(shape if unsqueeze else longer))
    return Sample([x] if not unsqueeze and draw(st.booleans()) else [x, named])


@st.composite
def permutations(draw: st.DrawFn) -> Sample:
    shape = draw(shapes())
    given = draw(st.fixed_dictionaries({}, optional={"perm": st.permutations(range(len(shape)))}))
    return Sample([numbers(draw(generators()), *shape)], given, free=draw(free_axes(len(shape))))


@st.composite
def expansions(draw: st.DrawFn) -> Sample:
    """To a shape that may have fewer axes than the input, or ones where the input has not."""
    shape, wanted = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4)).input_shapes
    return Sample([numbers(draw(generators()), *shape), int64(*wanted)])


@st.composite
def blocks(draw: st.DrawFn, to_depth: bool) -> Sample:
    batch, channels, height, width = draw(shapes(4, 4, side=3))
    block = draw(st.integers(1, 3))
    shape = (
        (batch, channels, height * block, width * block)
        if to_depth
        else (batch, channels * block**2, height, width)
    )
    given = (
        {}
        if to_depth
        else draw(st.fixed_dictionaries({}, optional={"mode": st.sampled_from(["DCR", "CRD"])}))
    )
    free = draw(st.sampled_from([(), (0,)]))
    return Sample([numbers(draw(generators()), *shape)], {"blocksize": block, **given}, free=free)


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())])


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, perm: list[int] | None = None) -> Tensor:
    return x.permute(perm if perm is not None else tuple(reversed(range(x.ndim))))


def space_to_depth(x: Tensor, blocksize: int) -> Tensor:
    """PyTorch numbers the parts of a block behind the channels, ONNX before them."""
    n, c, h, w = x.shape
    parts = functional.pixel_unshuffle(x, blocksize).reshape(
        n, c, blocksize**2, h // blocksize, w // blocksize
    )
    return parts.transpose(1, 2).flatten(1, 2)


def depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "DCR":
        n, c, h, w = x.shape
        x = x.reshape(n, blocksize**2, c // blocksize**2, h, w).transpose(1, 2).flatten(1, 2)
    return functional.pixel_shuffle(x, blocksize)


CASES = [
    Case("Reshape", reshape, reshapes()),
    Case("Flatten", flatten, flattens()),
    Case("Squeeze", squeeze, squeezes()),
    Case("Unsqueeze", unsqueeze, squeezes(unsqueeze=True)),
    Case("Transpose", transpose, permutations()),
    Case("Expand", lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, shape.tolist())), expansions()),
    Case("SpaceToDepth", space_to_depth, blocks(to_depth=True)),
    Case("DepthToSpace", depth_to_space, blocks(to_depth=False)),
]
