"""Operators that join values, or take a part of one."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import (
    Array,
    Case,
    Sample,
    any_axis,
    free_axes,
    generators,
    int64,
    numbers,
    shapes,
)


@st.composite
def joined(draw: st.DrawFn) -> Sample:
    shape = draw(shapes())
    axis = draw(any_axis(len(shape)))
    parts = []
    rng = draw(generators())
    for length in draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)):
        size = list(shape)
        size[axis] = length
        parts.append(numbers(rng, *size))
    free = draw(free_axes(len(shape))) - {axis % len(shape)}
    return Sample(parts, {"axis": axis}, by=range(len(parts)), free=free)


@st.composite
def splits(draw: st.DrawFn) -> Sample:
    """Into parts of given lengths, or a number of parts, of which the last may be shorter."""
    shape = list(draw(shapes()))
    axis = draw(any_axis(len(shape)))
    attributes: dict[str, Any] = {"axis": axis}
    rng = draw(generators())
    free = draw(free_axes(len(shape))) - {axis % len(shape)}
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        shape[axis] = sum(lengths)
        inputs = [numbers(rng, *shape), int64(*lengths)]
    else:
        length, count = draw(st.integers(2, 3)), draw(st.integers(1, 3))
        lengths = [length] * (count - 1) + [draw(st.integers(1, length))]
        shape[axis] = sum(lengths)
        if -(-shape[axis] // count) != length:  # too short a last part for this number of parts
            shape[axis] = length * count
        attributes["num_outputs"] = count
        inputs = [numbers(rng, *shape)]
    output = draw(st.integers(0, len(lengths) - 1))
    return Sample(inputs, attributes, free=free, outputs=len(lengths), output=output)


@st.composite
def slices(draw: st.DrawFn) -> Sample:
    """Bounds within an axis and beyond it, counted from either end; at least one place is taken."""
    shape = draw(shapes(1, 4, side=7))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    kind = draw(st.sampled_from(["bare", "axes", "steps"]))
    if kind == "bare":
        axes = list(range(len(axes)))
    starts, ends, steps, named = [], [], [], []
    for axis in axes:
        size = shape[axis]
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2])) if kind == "steps" else 1
        first, last = sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))))
        if step > 0:
            start = draw(st.sampled_from([first, first - size]))
            ends_here = [last + 1] + (
                [last + 1 - size] if last + 1 < size else [size + 3, 2**31 - 1, 2**63 - 1]
            )
        else:
            start = draw(st.sampled_from([last, last - size] + ([size + 2] if last == size - 1 else [])))
            ends_here = [first - 1, first - 1 - size] if first > 0 else [-1 - size, -(2**31), -(2**63)]
        starts.append(start)
        ends.append(draw(st.sampled_from(ends_here)))
        steps.append(step)
        named.append(draw(st.sampled_from([axis, axis - len(shape)])))
    inputs = [numbers(draw(generators()), *shape), int64(*starts), int64(*ends)]
    if kind != "bare":
        inputs.append(int64(*named))
    if kind == "steps":
        inputs.append(int64(*steps))
    return Sample(inputs, free=draw(free_axes(len(shape))) - set(axes))


@st.composite
def gathers(draw: st.DrawFn) -> Sample:
    """Indices of 0 to 2 axes, some of them negative, some more than once."""
    shape = draw(shapes())
    rank = len(shape)
    given = draw(st.fixed_dictionaries({}, optional={"axis": any_axis(rank)}))
    axis = given.get("axis", 0) % rank
    rng = draw(generators())
    indices = rng.integers(-shape[axis], shape[axis], draw(shapes(0, 2)))
    free = draw(free_axes(rank))
    return Sample([numbers(rng, *shape), np.asarray(indices, np.int64)], given, free=free)


@st.composite
def places(draw: st.DrawFn) -> Sample:
    """One index for each of the first axes."""
    shape = draw(shapes())
    depth = draw(st.integers(1, len(shape)))
    rng = draw(generators())
    indices = rng.integers(0, shape[:depth], (*draw(shapes(1, 2)), depth))
    return Sample([numbers(rng, *shape), np.asarray(indices, np.int64)], free=draw(free_axes(len(shape))))


@st.composite
def pads(draw: st.DrawFn) -> Sample:
    """With a constant, or what is within; a negative pad takes away."""
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    shape = draw(shapes(1, 4))
    rank = len(shape)
    axes = draw(st.none() | st.lists(st.integers(0, rank - 1), min_size=1, unique=True))
    chosen = range(rank) if axes is None else axes
    begin, end = [], []
    for size in (shape[axis] for axis in chosen):
        taken = [draw(st.integers(0, (size - 1) // 2)) for _ in range(2)]
        left = size - sum(taken)
        most = min(3, {"reflect": left - 1, "wrap": left}.get(mode, 3))
        for pads, away in zip((begin, end), taken, strict=True):
            pads.append(draw(st.sampled_from([-away, draw(st.integers(0, most))])))
    inputs: list[Array | None] = [numbers(draw(generators()), *shape), int64(*begin, *end)]
    value = draw(st.sampled_from([None, 0.0, 1.5])) if mode == "constant" else None
    if value is not None or axes is not None:
        inputs.append(None if value is None else np.array(value))
    if axes is not None:
        inputs.append(int64(*(axis - draw(st.sampled_from([0, rank])) for axis in axes)))
    free = draw(free_axes(rank)) if mode == "constant" else ()
    return Sample(inputs, {"mode": mode}, free=free)


def split(
    x: Tensor, lengths: Tensor | None = None, axis: int = 0, num_outputs: int = 0
) -> tuple[Tensor, ...]:
    size = x.shape[axis]
    return x.split(lengths.tolist() if lengths is not None else -(-size // num_outputs), axis)


def slice_(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    """Place by place: from the clamped start on, as long as the clamped end is not reached."""
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = place if axes is None else int(axes[place])
        step = 1 if steps is None else int(steps[place])
        size = x.shape[axis]
        start, end = (bound + size if bound < 0 else bound for bound in (start, end))
        start = min(max(start, 0), size if step > 0 else size - 1)
        end = min(max(end, 0 if step > 0 else -1), size)
        x = x.index_select(axis, torch.tensor(list(range(start, end, step))))
    return x


def gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    axis %= x.ndim
    taken = x.index_select(axis, indices.reshape((-1,)) % x.shape[axis])
    return taken.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, mode: str = "constant"
) -> Tensor:
    """Along one axis after the other: PyTorch repeats along the last of three only."""
    chosen = list(range(x.ndim)) if axes is None else axes.tolist()
    torch_mode = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    number = None if value is None else float(value)
    for axis, begin, end in zip(chosen, *pads.reshape(2, -1).tolist(), strict=True):
        last = x.movedim(axis, -1)
        kept = last[..., max(-begin, 0) : last.shape[-1] + min(end, 0)]
        padded = functional.pad(
            kept.reshape(1, -1, kept.shape[-1]), (max(begin, 0), max(end, 0)), torch_mode, number
        )
        x = padded.reshape(*last.shape[:-1], -1).movedim(-1, axis)
    return x * 1


CASES = [
    Case("Concat", lambda *parts, axis: torch.cat(parts, axis), joined()),
    Case("Split", split, splits()),
    Case("Slice", slice_, slices()),
    Case("Gather", gather, gathers()),
    Case("GatherND", lambda x, indices: x[indices.unbind(-1)], places()),
    Case("Pad", pad, pads(), reference=False),  # which refuses negative pads
]
