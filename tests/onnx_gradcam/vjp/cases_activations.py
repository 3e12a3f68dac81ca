"""Activation functions. Attributes are drawn from fractions of two, which are exact in float32."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import (
    ROUNDED,
    Case,
    Sample,
    any_axis,
    free_axes,
    generators,
    numbers,
    one_input,
    shapes,
)

FLOAT32_CONSTANTS: Any = {"tolerance": 3e-7, "slope_tolerance": 1e-6}
"""Where a default such as 0.01 is the float32 next to it, up to 6e-8 away."""

fractions = st.sampled_from([0.25, 0.5, 1.5, 2.0])


@st.composite
def slopes(draw: st.DrawFn) -> Sample:
    """One slope for all, or one per channel."""
    shape = draw(shapes(2, 5))
    rng = draw(generators())
    slope = draw(st.sampled_from([(1,), (shape[1], *[1] * (len(shape) - 2)), (1, *shape[1:]), shape]))
    free = () if slope == shape else draw(free_axes(len(shape)))
    return Sample([numbers(rng, *shape), numbers(rng, *slope)], by=(0, 1) if not free else (0,), free=free)


@st.composite
def bounded(draw: st.DrawFn) -> Sample:
    """Clip with both bounds, one, or none."""
    shape = draw(shapes(0))
    low, high = (draw(st.none() | st.sampled_from(values)) for values in ([-2.0, -0.5], [0.5, 1.25]))
    bounds = [None if bound is None else np.array(bound) for bound in (low, high)]
    return Sample([numbers(draw(generators()), *shape), *bounds], free=draw(free_axes(len(shape))))


@st.composite
def along_an_axis(draw: st.DrawFn) -> Sample:
    shape = draw(shapes())
    attributes = draw(st.fixed_dictionaries({}, optional={"axis": any_axis(len(shape))}))
    return Sample([numbers(draw(generators()), *shape)], attributes, free=draw(free_axes(len(shape))))


def clip(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    return x * 1 if low is None and high is None else x.clamp(low, high)


def hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def selu(x: Tensor, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Tensor:
    return gamma * functional.elu(x, alpha)


# The kinks: 0; 1 or alpha; the bounds; -beta / alpha and (1 - beta) / alpha; -3 and 3. Multiples of 1/8.
CASES = [
    Case("Relu", torch.relu, one_input()),
    Case(
        "LeakyRelu",
        lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
        one_input(alpha=fractions),
        **FLOAT32_CONSTANTS,
    ),
    Case("PRelu", lambda x, s: torch.where(x > 0, x, s * x), slopes()),
    Case(
        "ThresholdedRelu", lambda x, alpha=1.0: functional.threshold(x, alpha, 0), one_input(alpha=fractions)
    ),
    Case("Clip", clip, bounded()),
    Case("Sigmoid", torch.sigmoid, one_input()),
    Case(
        "HardSigmoid",
        hard_sigmoid,
        one_input(alpha=st.sampled_from([0.25, 0.5]), beta=st.just(0.5)),
        **FLOAT32_CONSTANTS,
    ),
    Case("HardSwish", functional.hardswish, one_input(), **FLOAT32_CONSTANTS),
    Case("Swish", lambda x, alpha=1.0: x * torch.sigmoid(alpha * x), one_input(alpha=fractions), opset=24),
    Case("Mish", functional.mish, one_input()),
    Case("Tanh", torch.tanh, one_input()),
    Case("Softplus", functional.softplus, one_input()),
    Case("Softsign", functional.softsign, one_input()),
    Case("Elu", lambda x, alpha=1.0: functional.elu(x, alpha), one_input(alpha=fractions)),
    Case("Selu", selu, one_input(alpha=fractions, gamma=fractions), **FLOAT32_CONSTANTS),
    Case(
        "Celu",
        lambda x, alpha=1.0: functional.celu(x, alpha),
        one_input(alpha=fractions),
        reference=False,
        dtype=np.float32,
        **ROUNDED,
    ),  # which is defined for float32 only
    Case(
        "Gelu",
        lambda x, approximate="none": functional.gelu(x, approximate=approximate),
        one_input(approximate=st.sampled_from(["none", "tanh"])),
        **ROUNDED,
    ),  # the reference has an Erf in float32
    Case("Softmax", lambda x, axis=-1: x.softmax(axis), along_an_axis()),
    Case("LogSoftmax", lambda x, axis=-1: x.log_softmax(axis), along_an_axis()),
]
