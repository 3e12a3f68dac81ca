"""A line of test data per operator: the node, the same function in PyTorch, where its inputs come from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """Inputs and attributes of one node."""

    inputs: Sequence[Array | None]
    """In the node's order; None where one is left out. Floats take the type of the graph."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Floats among them are exact in float32, as attributes are."""
    by: Sequence[int] = (0,)
    """Places of the inputs that the node is differentiated by; all others are constants of the graph."""
    free: Collection[int] = ()
    """Axes of those inputs whose size the graph for ONNX Runtime does not fix."""
    outputs: int = 1
    """Number of outputs."""
    output: int = 0
    """Place of the output that is differentiated."""


@dataclass(frozen=True)
class Case:
    """An operator."""

    operator: str
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    """In PyTorch: of the inputs, and of the attributes as keywords."""
    samples: st.SearchStrategy[Sample]
    opset: int = 20
    dtype: type = np.float64
    """Float type of the graph that is compared with PyTorch in float64, and with its own differences."""
    reference: bool = True
    """Whether onnx.reference computes that graph; ONNX Runtime where onnx.reference is wrong."""
    tolerance: float = 1e-10
    """Of the gradient, relative to its largest entry; larger where something is rounded to float32."""
    step: float = 2.0**-20
    """Of the finite differences. Piecewise operators need a short one, linear ones can have a long one."""
    slope_tolerance: float = 1e-7
    """Of the finite differences, relative to the sum of what they add up."""


# Where something is computed in float32, a step must be long: rounding is divided by it.
ROUNDED: Any = {"tolerance": 1e-6, "step": 2.0**-9, "slope_tolerance": 1e-3}
# The sums of a linear operator in float32 are exact: the numbers below and their products end at 2^-12.
LINEAR: Any = {
    "reference": False,
    "dtype": np.float32,
    "tolerance": 1e-6,
    "step": 2.0**-4,
    "slope_tolerance": 1e-6,
}


def numbers(rng: np.random.Generator, *shape: int) -> Array:
    """Odd sixteenths in (-4, 4): exact in float32, and at least 1/16 away from every multiple of 1/8.

    The piecewise operators of the tests have their kinks at such multiples.
    """
    return np.asarray((rng.integers(-32, 32, shape) + 0.5) / 8)


def positive(rng: np.random.Generator, *shape: int) -> Array:
    """As numbers, in (0, 4)."""
    return np.asarray(np.abs(numbers(rng, *shape)))


def distinct(rng: np.random.Generator, *shape: int) -> Array:
    """As numbers, but as large as it takes for no two to be equal."""
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2 + 0.5) / 8).reshape(shape)


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Hypothesis draws structure; numbers come from a seeded generator."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def shapes(least: int = 1, most: int = 4, side: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """So many axes of 1 to `side`."""
    return st.lists(st.integers(1, side), min_size=least, max_size=most).map(tuple)


def any_axis(rank: int) -> st.SearchStrategy[int]:
    """From the front or from the back."""
    return st.integers(-rank, rank - 1)


def free_axes(rank: int) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(0, rank - 1), max_size=rank) if rank else st.just(set())


def int64(*values: int) -> Array:
    return np.array(values, np.int64)


@st.composite
def one_input(
    draw: st.DrawFn,
    values: Callable[..., Array] = numbers,
    least: int = 1,
    most: int = 4,
    **attributes: st.SearchStrategy[Any],
) -> Sample:
    """An input of any shape, and attributes that may be left out."""
    shape = draw(shapes(least, most))
    given = draw(st.fixed_dictionaries({}, optional=attributes))
    return Sample([values(draw(generators()), *shape)], given, free=draw(free_axes(len(shape))))
