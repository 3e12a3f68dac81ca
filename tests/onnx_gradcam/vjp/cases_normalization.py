"""Normalisation. Epsilons are powers of two, which are exact in float32."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import (
    ROUNDED,
    Array,
    Case,
    Sample,
    any_axis,
    free_axes,
    generators,
    numbers,
    positive,
    shapes,
)

epsilons = {"epsilon": st.sampled_from([2.0**-10, 2.0**-4])}


@st.composite
def batches(draw: st.DrawFn) -> Sample:
    shape = draw(shapes(2, 5, side=4))
    rng = draw(generators())
    scale, bias, mean, variance = (values(rng, shape[1]) for values in (numbers, numbers, numbers, positive))
    given = draw(st.fixed_dictionaries(epsilons))
    free = draw(free_axes(len(shape))) - {1}
    return Sample([numbers(rng, *shape), scale, bias, mean, variance], given, free=free)


@st.composite
def layers(draw: st.DrawFn, with_bias: bool = True) -> Sample:
    """Over the last axes; the bias may be left out."""
    shape = draw(shapes(2, 4))
    axis = draw(any_axis(len(shape)))
    given = draw(st.fixed_dictionaries(epsilons)) | {"axis": axis}
    rng = draw(generators())
    inputs = [
        varied(rng, *shape),
        *(numbers(rng, *shape[axis:]) for _ in range(draw(st.integers(1, 1 + with_bias)))),
    ]
    free = draw(free_axes(len(shape))) - set(range(axis % len(shape), len(shape)))
    return Sample(inputs, given, free=free)


@st.composite
def channels(draw: st.DrawFn, groups: bool = False, per_group: bool = False) -> Sample:
    """One weight per channel, or per group of channels."""
    batch, channels, *space = draw(shapes(3, 5, side=4))
    given = draw(st.fixed_dictionaries(epsilons))
    weights = channels
    if groups:
        given["num_groups"] = draw(st.integers(1, 3))
        weights = given["num_groups"] if per_group else channels * given["num_groups"]
        channels *= given["num_groups"]
    rng = draw(generators())
    inputs = [varied(rng, batch, channels, *space), numbers(rng, weights), numbers(rng, weights)]
    return Sample(inputs, given, free=draw(st.sampled_from([(), (0,)])))


@st.composite
def norms(draw: st.DrawFn) -> Sample:
    shape = draw(shapes(1, 4))
    optional = {"axis": any_axis(len(shape)), "p": st.sampled_from([1, 2])}
    given = draw(st.fixed_dictionaries({}, optional=optional))
    return Sample([numbers(draw(generators()), *shape)], given, free=draw(free_axes(len(shape))))


@st.composite
def responses(draw: st.DrawFn) -> Sample:
    shape = draw(shapes(4, 4))
    required = {"size": st.sampled_from([1, 3, 5]), "alpha": st.sampled_from([0.25, 1.0])}
    optional = {"beta": st.sampled_from([0.5, 0.75]), "bias": st.sampled_from([0.5, 2.0])}
    given = draw(st.fixed_dictionaries(required, optional=optional))
    return Sample([numbers(draw(generators()), *shape)], given, free=draw(free_axes(4)) - {1})


def varied(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers that are all different, so that none of their deviations is 0 by chance."""
    return np.asarray(numbers(rng, *shape) + rng.permutation(int(np.prod(shape))).reshape(shape) / 64)


def batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    return functional.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, axis: int = -1, epsilon: float = 1e-5
) -> Tensor:
    return functional.layer_norm(x, x.shape[axis:], weight, bias, epsilon)


def rms_norm(x: Tensor, weight: Tensor, axis: int, epsilon: float) -> Tensor:
    return functional.rms_norm(x, x.shape[axis:], weight, epsilon)


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, num_groups: int) -> Tensor:
    repeats = x.shape[1] // len(weight)  # up to operator set 20 there is one weight per group
    weight, bias = (value.repeat_interleave(repeats) for value in (weight, bias))
    grouped = x.reshape(len(x), num_groups, -1)  # PyTorch's own refuses groups of one number
    deviation = (grouped.var(-1, keepdim=True, correction=0) + epsilon).sqrt()
    result = ((grouped - grouped.mean(-1, keepdim=True)) / deviation).reshape(x.shape)
    along = [-1] + [1] * (x.ndim - 2)
    return result * weight.reshape(along) + bias.reshape(along)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    return group_norm(x, weight, bias, epsilon, num_groups=x.shape[1])


def lp_norm(x: Tensor, axis: int = -1, p: int = 2) -> Tensor:
    return x / torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)


def response_norm(x: Tensor, size: int, alpha: float, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    return functional.local_response_norm(x, size, alpha, beta, bias)


CASES = [
    Case("BatchNormalization", batch_norm, batches()),
    Case("LayerNormalization", layer_norm, layers()),
    Case("RMSNormalization", rms_norm, layers(with_bias=False), opset=23),
    Case("InstanceNormalization", instance_norm, channels()),
    Case("GroupNormalization", group_norm, channels(groups=True, per_group=True), opset=18, **ROUNDED),
    Case("GroupNormalization", group_norm, channels(groups=True), opset=21, **ROUNDED),
    Case("LpNormalization", lp_norm, norms(), reference=False),  # adds up x for |x|
    Case("LRN", response_norm, responses(), reference=False, dtype=np.float32, **ROUNDED),
]
