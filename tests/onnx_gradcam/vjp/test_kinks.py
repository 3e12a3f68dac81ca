"""Where a derivative does not exist: PyTorch's choice, unless said otherwise."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import Array, Case, Sample, generators, int64
from tests.onnx_gradcam.vjp.graph import autograd, backward, differentiated, run


def gradients(
    operator: str, sample: Sample, function: Callable[..., Tensor]
) -> tuple[list[Array], list[Array]]:
    """Of ONNX Runtime, and of PyTorch."""
    case = Case(operator, function, st.just(sample))
    _, seed, expected = autograd(case, sample)
    return run(backward(case, sample, np.float32), [*differentiated(sample), seed])[1:], expected


@settings(derandomize=True, max_examples=50, deadline=None, database=None)
@given(rng=generators(), kernel=st.integers(1, 3), stride=st.integers(1, 3), padded=st.booleans())
def test_the_first_of_equal_pixels_in_a_window_gets_it_all(
    rng: np.random.Generator, kernel: int, stride: int, padded: bool
) -> None:
    pad = kernel // 2 if padded else 0
    attributes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": [pad] * 4}
    x = rng.integers(0, 3, (2, 2, 6, 7)).astype(np.float64)
    actual, expected = gradients(
        "MaxPool", Sample([x], attributes), lambda x, **_: functional.max_pool2d(x, kernel, stride, pad)
    )
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_inputs_that_are_equal_share_evenly(operator: str) -> None:
    inputs = [np.array([1.0, 5.0, 2.0]), np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 5.0])]
    case = Case(operator, torch.clone, st.nothing())
    sample = Sample(inputs, by=(0, 1, 2))
    actual = run(backward(case, sample, np.float32), [*inputs, np.full(3, 6.0)])[1:]
    largest = [[2, 6, 0], [2, 0, 0], [2, 0, 6]]
    smallest = [[2, 0, 3], [2, 3, 3], [2, 3, 0]]
    np.testing.assert_array_equal(actual, largest if operator == "Max" else smallest)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin", "GlobalMaxPool"])
def test_elements_that_are_equal_share_evenly(operator: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 2, 2)).astype(np.float64)
    sample = Sample([x] if operator == "GlobalMaxPool" else [x, int64(2, 3)])
    function = torch.amin if operator == "ReduceMin" else torch.amax
    actual, expected = gradients(operator, sample, lambda x, *_: function(x, (2, 3), keepdim=True))
    assert len(np.unique(np.abs(expected[0]))) > 3
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("operator", "function", "attributes"),
    [
        ("Relu", torch.relu, {}),
        ("LeakyRelu", lambda x, alpha: functional.leaky_relu(x, alpha), {"alpha": 0.25}),
        ("ThresholdedRelu", lambda x, alpha: functional.threshold(x, alpha, 0), {"alpha": 1.0}),
        ("Elu", lambda x: functional.elu(x), {}),
        ("Abs", torch.abs, {}),
        ("ReduceL1", lambda x, **_: x.abs().sum(), {"keepdims": 0}),
        ("HardSigmoid", lambda x, **_: functional.hardsigmoid(2 * x), {"alpha": 1 / 3, "beta": 0.5}),
    ],
)
def test_the_slope_at_a_kink_is_pytorchs(
    operator: str, function: Callable[..., Tensor], attributes: dict[str, Any]
) -> None:
    x = np.array([-1.5, 0.0, 1.0, 1.5])
    actual, expected = gradients(operator, Sample([x], attributes), function)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)


def test_a_bound_that_is_reached_stops_the_gradient() -> None:
    """As in PyTorch's relu6 and hardtanh; its clamp lets it through."""
    sample = Sample([np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.array(-1.0), np.array(1.0)])
    case = Case("Clip", lambda x, low, high: functional.hardtanh(x, -1, 1), st.just(sample))
    actual = run(backward(case, sample, np.float32), [*differentiated(sample), np.full(5, 3.0)])[1]
    np.testing.assert_array_equal(actual, [0, 0, 3, 0, 0])
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    functional.hardtanh(x).sum().backward()
    assert not x.grad.any()


def test_the_norm_of_nothing_but_zeros_sends_back_zeros() -> None:
    actual, _ = gradients("ReduceL2", Sample([np.zeros(3)]), lambda x: x.sum(0, keepdim=True))
    np.testing.assert_array_equal(actual[0], np.zeros(3))
