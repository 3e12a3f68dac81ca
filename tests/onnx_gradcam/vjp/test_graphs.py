"""Which nodes the rules write, and graphs whose sizes are known only when they run."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass
from torch import Tensor

from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from tests.onnx_gradcam.vjp.case import Array, Case, Sample, distinct, int64, numbers
from tests.onnx_gradcam.vjp.cases_convolution import conv
from tests.onnx_gradcam.vjp.cases_pooling import average_pool, max_pool
from tests.onnx_gradcam.vjp.graph import assert_close, autograd, backward, run


def weights(*shape: int) -> Array:
    return numbers(np.random.default_rng(0), *shape)


def convolution(**attributes: Any) -> ir.Model:
    sample = Sample([np.zeros((1, 2, 8, 8)), weights(2, 2, *attributes["kernel_shape"])], attributes)
    return backward(Case("Conv", conv, st.just(sample)), sample, np.float32)


def operators(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph}


def test_stride_one_is_a_convolution_and_stride_two_a_transposed_one() -> None:
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    assert "ConvTranspose" not in operators(convolution(**window))
    assert "ConvTranspose" in operators(convolution(**window, strides=[2, 2]))


@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (2, 3)], ids=["depthwise", "grouped"])
def test_groups_of_stride_one_are_a_convolution_with_groups(inner: int, outer: int) -> None:
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "group": 4}
    sample = Sample([np.zeros((1, 4 * inner, 8, 8)), weights(4 * outer, inner, 3, 3)], window)
    model = backward(Case("Conv", conv, st.just(sample)), sample, np.float32)
    assert "ConvTranspose" not in operators(model)
    groups = [node.attributes.get_int("group", 1) for node in model.graph if node.op_type == "Conv"]
    assert groups == [4, 4]


@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_no_backward_operator_reads_a_forward_weight(strides: list[int]) -> None:
    model = convolution(kernel_shape=[1, 1], strides=strides)
    readers = [use.node for use in model.graph.initializers["x1"].uses()]
    assert [node.name for node in readers if node.op_type.startswith("Conv")] == ["the_node"]


@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
@pytest.mark.parametrize("operator", ["Conv", "AveragePool", "MaxPool"])
def test_one_graph_is_right_at_every_image_size(operator: str, strides: list[int]) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "strides": strides}
    attributes |= {"pads": [1, 0, 1, 1]} if operator == "Conv" else {}
    function = {"Conv": conv, "AveragePool": average_pool, "MaxPool": max_pool}[operator]

    def sample(batch: int, height: int, width: int) -> Sample:
        x = distinct(np.random.default_rng(height), batch, 2, height, width)
        return Sample([x, weights(3, 2, 3, 2)] if operator == "Conv" else [x], attributes, free=(0, 2, 3))

    case = Case(operator, function, st.nothing())
    model = backward(case, sample(1, 8, 8), np.float32, free=True)
    for sizes in [(1, 8, 8), (2, 7, 9), (1, 9, 12), (3, 10, 5)]:
        at = sample(*sizes)
        _, seed, expected = autograd(case, at)
        assert_close(run(model, [np.asarray(at.inputs[0]), seed])[1], expected[0], 1e-6)


def test_same_padding_becomes_the_pads_it_stands_for() -> None:
    same = convolution(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    transposed = next(node for node in same.graph if node.op_type == "ConvTranspose")
    assert transposed.attributes["pads"].as_ints() == (0, 0, 1, 1)


@pytest.mark.parametrize("used", [(0, 2), (2, 1), (0, 1, 2)])
def test_outputs_of_a_split_that_are_used_together_add_up(used: tuple[int, ...]) -> None:
    x = ir.val("x", ir.DataType.FLOAT, [2, 6])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20})
    builder = GraphBuilder(graph)
    split = ir.node("Split", [x, builder.integers([2, 2, 2])], {"axis": 1}, num_outputs=3)
    graph.append(split)
    product = split.outputs[used[0]]
    for place in used[1:]:
        product = builder.op("Mul", [product, split.outputs[place]])
    graph.outputs.append(product)
    model = ir.Model(graph, ir_version=10)
    for place, output in enumerate(split.outputs):
        output.name = f"part_{place}"
    ShapeInferencePass()(model)
    seed = ir.val("seed", ir.DataType.FLOAT, [2, 2])
    graph.inputs.append(seed)
    gradient = backpropagate(builder, product, seed, [x])[x]
    gradient.shape, gradient.type = x.shape, x.type
    graph.outputs.append(gradient)

    def function(x: Tensor) -> Tensor:
        parts = x.split(2, 1)
        return torch.stack([parts[place] for place in used]).prod(0)

    sample = Sample([weights(2, 6)])
    _, cotangent, expected = autograd(Case("Split", function, st.nothing()), sample)
    assert_close(run(model, [weights(2, 6), cotangent])[1], expected[0], 1e-6)


def test_a_part_of_no_length_sends_back_zeros() -> None:
    model = backward(
        Case("Slice", torch.clone, st.nothing()), Sample([np.ones(3), int64(2), int64(2)]), np.float32
    )
    np.testing.assert_array_equal(run(model, [np.ones(3), np.ones(0)])[1], np.zeros(3))


def test_a_number_that_is_taken_twice_gets_both_gradients() -> None:
    """By the matrix of a fixed size, and by the scattering of an open one."""
    case, x, seed = (
        Case("Gather", torch.clone, st.nothing()),
        np.zeros(3),
        np.array([1.0, 10.0, 100.0, 1000.0]),
    )
    for free in ((), (0,)):
        model = backward(case, Sample([x, int64(2, 0, 2, -1)], free=free), np.float32, free=True)
        np.testing.assert_array_equal(run(model, [x, seed])[1], [10, 0, 1101])
