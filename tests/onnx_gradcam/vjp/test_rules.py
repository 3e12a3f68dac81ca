"""Every rule, on random shapes and attributes, against two judges that do not know it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gradcam.vjp import RULES
from tests.onnx_gradcam.vjp import (
    cases_activations,
    cases_convolution,
    cases_elementwise,
    cases_matrices,
    cases_normalization,
    cases_pieces,
    cases_pooling,
    cases_rearranging,
    cases_reductions,
    cases_resizing,
)
from tests.onnx_gradcam.vjp.case import Case, numbers
from tests.onnx_gradcam.vjp.graph import (
    assert_close,
    autograd,
    backward,
    compute,
    differentiated,
    forward,
    run,
)

CASES: list[Case] = [
    *cases_activations.CASES,
    *cases_convolution.CASES,
    *cases_elementwise.CASES,
    *cases_rearranging.CASES,
    *cases_matrices.CASES,
    *cases_normalization.CASES,
    *cases_pieces.CASES,
    *cases_pooling.CASES,
    *cases_reductions.CASES,
    *cases_resizing.CASES,
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operator}-{case.opset}")
on_random_samples = settings(derandomize=True, max_examples=30, deadline=None, database=None)


@every_case
@on_random_samples
@given(data=st.data())
def test_gradient_is_that_of_autograd(case: Case, data: st.DataObject) -> None:
    sample = data.draw(case.samples)
    result, seed, expected = autograd(case, sample)
    model = backward(case, sample, case.dtype)
    value, *gradients = compute(case, model, [*differentiated(sample), seed])
    for actual, wanted in zip([value, *gradients], [result, *expected], strict=True):
        assert_close(actual, wanted, case.tolerance)


@every_case
@on_random_samples
@given(data=st.data())
def test_gradient_is_that_of_finite_differences(case: Case, data: st.DataObject) -> None:
    """For a direction v: (l(x + h v) - l(x - h v)) / 2h is the gradient times v, with l = seed times y."""
    sample = data.draw(case.samples)
    inputs = differentiated(sample)
    node = forward(case, sample, case.dtype)
    rng = np.random.default_rng(1)
    direction = [numbers(rng, *x.shape) for x in inputs]
    ahead, behind = (
        compute(case, node, [x + h * v for x, v in zip(inputs, direction, strict=True)])[0].astype(np.float64)
        for h in (case.step, -case.step)
    )
    seed = numbers(rng, *ahead.shape)
    terms = seed * (ahead - behind) / (2 * case.step)

    gradients = compute(case, backward(case, sample, case.dtype), [*inputs, seed])[1:]

    # Terms of opposite sign cancel: the error goes by their size and not by that of the sum.
    largest = max(1.0, np.abs(terms).sum())
    slope = sum((gradient * v).sum() for gradient, v in zip(gradients, direction, strict=True))
    assert abs(terms.sum() - slope) < case.slope_tolerance * largest


@every_case
@on_random_samples
@given(data=st.data())
def test_gradient_runs_in_onnx_runtime(case: Case, data: st.DataObject) -> None:
    """In float32, and with sizes that the graph leaves open."""
    sample = data.draw(case.samples)
    result, seed, expected = autograd(case, sample)
    model = backward(case, sample, np.float32, free=True)
    value, *gradients = run(model, [*differentiated(sample), seed])
    # Rounding of 6e-8 over some dozens of terms of the largest number's size.
    for actual, wanted in zip([value, *gradients], [result, *expected], strict=True):
        assert_close(actual, wanted, 1e-5)


def test_every_rule_has_a_case() -> None:
    assert {case.operator for case in CASES} == set(RULES)
