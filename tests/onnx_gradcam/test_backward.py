"""The walk: what is visited, what adds up, and what is refused."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import OptionError, UnsupportedOperatorError


def start(*sizes: int) -> tuple[GraphBuilder, ir.Value]:
    """A graph with one float64 input x."""
    x = ir.val("x", ir.DataType.DOUBLE, sizes)
    return GraphBuilder(ir.Graph([x], [], nodes=[], opset_imports={"": 20})), x


def op(builder: GraphBuilder, operator: str, *inputs: ir.Value, name: str | None = None) -> ir.Value:
    """A node whose output has the shape of its first input."""
    output = builder.op(operator, inputs, name=name)
    output.shape, output.type = inputs[0].shape, inputs[0].type
    return output


def gradient(builder: GraphBuilder, y: ir.Value, x: ir.Value, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """dl/dx for l = the sum of y, computed by ONNX Runtime."""
    assert y.shape is not None
    seed = builder.constant(np.ones(y.shape.numpy()))
    result = op(builder, "Identity", backpropagate(builder, y, seed, [x])[x])
    builder.graph.outputs.append(result)
    proto = ir.to_proto(ir.Model(builder.graph, ir_version=10))
    return np.asarray(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": at})[0])


def test_a_value_used_by_two_nodes_gets_the_sum_of_both() -> None:
    builder, x = start(3)
    y = op(builder, "Add", op(builder, "Relu", x), op(builder, "Mul", x, x))
    at = np.array([-2.0, 1.0, 3.0])
    np.testing.assert_array_equal(gradient(builder, y, x, at), (at > 0) + 2 * at)


def test_a_value_used_twice_by_one_node_gets_both_cotangents() -> None:
    builder, x = start(2)
    y = op(builder, "Add", x, x)
    np.testing.assert_array_equal(gradient(builder, y, x, np.array([1.0, 2.0])), [2, 2])


def test_a_target_in_the_middle_of_a_chain_gets_its_own_gradient() -> None:
    builder, x = start(2)
    square = op(builder, "Mul", x, x)
    cube = op(builder, "Mul", square, x)
    assert gradient(builder, cube, square, np.array([2.0, 3.0])).tolist() == [2, 3]


def test_several_targets_on_one_path_share_the_walk() -> None:
    builder, x = start(2)
    first, second = (op(builder, "Relu", x, name=name) for name in ("first", "second"))
    y = op(builder, "Mul", op(builder, "Mul", first, second), first)
    gradients = backpropagate(builder, y, y, [first, second])
    assert set(gradients) == {first, second}


def test_what_the_output_does_not_depend_on_is_not_visited() -> None:
    builder, x = start(2)
    op(builder, "Sin", x)  # which has no rule
    y = op(builder, "Mul", x, x)
    assert set(backpropagate(builder, y, y, [x])) == {x}


def test_nothing_below_the_first_target_is_computed() -> None:
    builder, x = start(2)
    target = op(builder, "Relu", op(builder, "Sin", x))
    y = op(builder, "Mul", target, target)
    before = len(builder.nodes)
    backpropagate(builder, y, y, [target])
    appended = [node.op_type for node in builder.nodes[before:]]
    assert sorted(appended) == ["Add", "Mul", "Mul"]


def test_a_target_that_the_output_does_not_depend_on_is_refused() -> None:
    builder, x = start(2)
    aside = op(builder, "Relu", x)
    aside.name = "aside"
    y = op(builder, "Mul", x, x)
    y.name = "y"
    with pytest.raises(OptionError, match="'y' does not depend on 'aside': expected a layer before it"):
        backpropagate(builder, y, y, [aside])


def test_a_weight_that_depends_on_the_target_is_refused() -> None:
    builder, x = start(1, 1, 1, 1)
    y = op(builder, "Conv", x, op(builder, "Relu", x), name="dynamic")
    with pytest.raises(UnsupportedOperatorError, match=r"passes through input 1 of node 'dynamic' \(Conv\)"):
        backpropagate(builder, y, y, [x])


def test_a_gradient_into_a_second_output_is_refused() -> None:
    builder, x = start(2, 2)
    inputs = [x, builder.constant(np.ones(2))]
    values = builder.op_multi_out("LayerNormalization", inputs, num_outputs=2, name="normalised")
    for value, sizes in zip(values, ([2, 2], [2, 1]), strict=True):
        value.shape, value.type = ir.Shape(sizes), x.type
    y = op(builder, "Relu", values[1])  # the mean
    with pytest.raises(
        UnsupportedOperatorError, match=r"another output than the first of node 'normalised' \(LayerNorm"
    ):
        backpropagate(builder, y, y, [x])


def test_a_batch_norm_above_a_convolution_scales_the_weight_and_not_the_activations() -> None:
    builder, x = start(1, 2, 4, 4)
    weight = builder.constant(np.ones((3, 2, 1, 1)))
    convolved = builder.op("Conv", [x, weight])
    convolved.shape, convolved.type = ir.Shape([1, 3, 4, 4]), x.type
    parameters = [builder.constant(np.full(3, number)) for number in (1.0, 2.0, 3.0, 4.0)]
    y = op(builder, "BatchNormalization", convolved, *parameters)
    gradients = backpropagate(builder, y, y, [x])
    builder.remove_unused(keep=[gradients[x]])
    products = [node for node in builder.graph if node.op_type == "Mul"]
    assert [node.inputs[0] for node in products] == [weight]
