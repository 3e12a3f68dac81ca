"""Arithmetic, with inputs of shapes that broadcast."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import Tensor

from tests.onnx_gradcam.vjp.case import (
    ROUNDED,
    Array,
    Case,
    Sample,
    distinct,
    free_axes,
    generators,
    numbers,
    one_input,
    positive,
    shapes,
)


@st.composite
def pair(draw: st.DrawFn, *values: Callable[..., Array], by: Sequence[int] = (0, 1)) -> Sample:
    """Inputs that are repeated along each other's axes; with equal shapes, sizes may be open."""
    values = values or (numbers, numbers)
    broadcast = draw(
        mutually_broadcastable_shapes(num_shapes=len(values), max_dims=4, max_side=4)
    ).input_shapes
    rng = draw(generators())
    free = draw(free_axes(len(broadcast[0]))) if len(set(broadcast)) == 1 else ()
    return Sample([v(rng, *shape) for v, shape in zip(values, broadcast, strict=True)], by=by, free=free)


@st.composite
def several(draw: st.DrawFn) -> Sample:
    """One to four inputs, no two of whose numbers are equal."""
    count = draw(st.integers(1, 4))
    broadcast = draw(mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=4)).input_shapes
    everything = distinct(draw(generators()), sum(int(np.prod(shape)) for shape in broadcast))
    ends = np.cumsum([int(np.prod(shape)) for shape in broadcast])
    parts = np.split(everything, ends[:-1])
    return Sample(
        [part.reshape(shape) for part, shape in zip(parts, broadcast, strict=True)], by=range(count)
    )


@st.composite
def powers(draw: st.DrawFn) -> Sample:
    """Whole exponents of any number, as floats or integers; any exponent of a positive number."""
    kind = draw(st.sampled_from(["any", "whole", "integer"]))
    base = positive if kind == "any" else numbers
    sample = draw(pair(base, numbers, by=(0,)))
    x, exponent = sample.inputs
    assert exponent is not None
    if kind != "any":
        exponent = np.clip(np.floor(exponent), -2, 3).astype(np.int64 if kind == "integer" else np.float64)
    return Sample([x, exponent], by=(0,), free=())


@st.composite
def dropout(draw: st.DrawFn) -> Sample:
    x = numbers(draw(generators()), *draw(shapes()))
    others = draw(
        st.sampled_from([[], [np.array(0.5)], [np.array(0.5), np.array(False)], [None, np.array(False)]])
    )
    return Sample([x, *others])


@st.composite
def like(draw: st.DrawFn) -> Sample:
    x = numbers(draw(generators()), *draw(shapes()))
    return Sample([x, np.zeros(2, draw(st.sampled_from([np.float16, np.float32])))])


def condition(rng: np.random.Generator, *shape: int) -> Array:
    return np.asarray(rng.random(shape) < 0.5)


def reduce(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of two in PyTorch for any number of them."""

    def of_all(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first * 1

    return of_all


formats = st.sampled_from([ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE]).map(int)

CASES = [
    Case("Identity", torch.clone, one_input()),
    Case("Dropout", lambda x, *_: x * 1, dropout()),
    # The numbers and steps are exact in float16.
    Case(
        "Cast",
        lambda x, to: x * 1,
        one_input().flatmap(lambda s: formats.map(lambda to: Sample(s.inputs, {"to": to}))),
        step=2.0**-4,
    ),
    Case("CastLike", lambda x, _: x * 1, like(), step=2.0**-4),
    Case("Add", torch.add, pair()),
    Case("Sub", torch.sub, pair()),
    Case("Mul", torch.mul, pair()),
    Case("Div", torch.div, pair()),
    Case("Pow", torch.pow, powers()),
    Case("Neg", torch.neg, one_input()),
    Case("Sqrt", torch.sqrt, one_input(positive)),
    Case("Reciprocal", torch.reciprocal, one_input()),
    Case("Exp", torch.exp, one_input()),
    Case("Log", torch.log, one_input(positive)),
    Case("Abs", torch.abs, one_input()),
    Case("Erf", torch.erf, one_input(), **ROUNDED),  # by the reference, to float32
    Case("Sum", reduce(torch.add), several()),
    Case("Max", reduce(torch.maximum), several()),
    Case("Min", reduce(torch.minimum), several()),
    Case("Where", torch.where, pair(condition, numbers, numbers, by=(1, 2))),
]
