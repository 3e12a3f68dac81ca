"""Sums, means and extremes along axes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.onnx_gradcam.vjp.case import (
    LINEAR,
    Array,
    Case,
    Sample,
    distinct,
    free_axes,
    generators,
    int64,
    numbers,
    one_input,
    shapes,
)


@st.composite
def reductions(draw: st.DrawFn, values: Callable[..., Array] = numbers) -> Sample:
    """Some axes from either end, all by default, or none at all."""
    shape = draw(shapes())
    rank = len(shape)
    x = values(draw(generators()), *shape)
    attributes = draw(st.fixed_dictionaries({}, optional={"keepdims": st.sampled_from([0, 1])}))
    axes = draw(st.none() | st.sets(st.integers(0, rank - 1)))
    free = draw(free_axes(rank))
    if not axes:
        attributes["noop_with_empty_axes"] = draw(st.sampled_from([0, 1]))
    if axes is None:
        return Sample([x], attributes, free=free)
    named = [axis - draw(st.sampled_from([0, rank])) for axis in axes]
    return Sample([x, int64(*named)], attributes, free=free)


@st.composite
def named_by_attribute(draw: st.DrawFn, values: Callable[..., Array] = numbers) -> Sample:
    """As up to operator set 17."""
    sample = draw(
        reductions(values).filter(lambda sample: len(sample.inputs) > 1 and np.size(sample.inputs[1]))
    )
    x, axes = sample.inputs
    assert axes is not None
    return Sample([x], dict(sample.attributes) | {"axes": axes.tolist()}, free=sample.free)


def reduction(function: Callable[[Tensor, list[int]], Tensor]) -> Callable[..., Tensor]:
    """A function of a tensor and axes, which it keeps, as a reduction of ONNX."""

    def reduced(
        x: Tensor,
        axes: Tensor | Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        chosen: list[Any] = [] if axes is None else [int(axis) for axis in axes]
        if not chosen and noop_with_empty_axes:
            return function(x.unsqueeze(-1), [-1]).squeeze(-1)  # each number for itself
        chosen = chosen or list(range(x.ndim))
        result = function(x, chosen)
        return result if keepdims else result.squeeze(tuple(chosen))

    return reduced


CASES = [
    Case(
        "GlobalAveragePool",
        lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
        one_input(least=3, most=5),
    ),
    Case(
        "GlobalMaxPool",
        lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
        one_input(distinct, 3, 5),
        **(LINEAR | {"step": 2.0**-8}),
    ),
    Case("ReduceMean", reduction(lambda x, axes: x.mean(axes, keepdim=True)), reductions()),
    Case("ReduceMean", reduction(lambda x, axes: x.mean(axes, keepdim=True)), named_by_attribute(), opset=17),
    Case("ReduceSum", reduction(lambda x, axes: x.sum(axes, keepdim=True)), reductions()),
    Case("ReduceMax", reduction(lambda x, axes: x.amax(axes, keepdim=True)), reductions(distinct)),
    Case(
        "ReduceMax",
        reduction(lambda x, axes: x.amax(axes, keepdim=True)),
        named_by_attribute(distinct),
        opset=17,
    ),
    Case("ReduceMin", reduction(lambda x, axes: x.amin(axes, keepdim=True)), reductions(distinct)),
    Case("ReduceL1", reduction(lambda x, axes: x.abs().sum(axes, keepdim=True)), reductions()),
    Case("ReduceL2", reduction(lambda x, axes: x.square().sum(axes, keepdim=True).sqrt()), reductions()),
    Case("ReduceSumSquare", reduction(lambda x, axes: x.square().sum(axes, keepdim=True)), reductions()),
    Case("ReduceLogSumExp", reduction(lambda x, axes: torch.logsumexp(x, axes, keepdim=True)), reductions()),
]
