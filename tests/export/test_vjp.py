"""Every rule against autograd, on graphs of one node."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import ShapeInferencePass
from torch import Tensor
from torch.nn import functional

from biounet_edge.errors import ExportError
from export.backward import backpropagate
from export.builder import GraphBuilder
from export.vjp import RULES, rule_of

RNG = np.random.default_rng(0)


def random(*shape: int) -> NDArray[np.float64]:
    return RNG.normal(size=shape)


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """One node, and the same function in PyTorch."""

    operator: str
    function: Callable[..., Tensor]
    """Of the inputs and of those constants that are numbers."""
    shapes: Sequence[Sequence[int]]
    """Of the inputs that a gradient passes through."""
    constants: Sequence[NDArray[Any]] = ()
    """Inputs after them."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dtype: type = np.float64
    """Float32 where ONNX Runtime has no other."""


def conv(shape: Sequence[int], weight: Sequence[int], **attributes: Any) -> Case:
    """A convolution."""
    space = len(shape) - 2
    pads = attributes.get("pads", [0] * 2 * space)
    torch_pads = [pad for axis in reversed(range(space)) for pad in (pads[axis], pads[axis + space])]
    torch_conv = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[space]

    def function(x: Tensor, w: Tensor) -> Tensor:
        return torch_conv(
            functional.pad(x, torch_pads),
            w,
            stride=attributes.get("strides", 1),
            dilation=attributes.get("dilations", 1),
            groups=attributes.get("group", 1),
        )

    return Case("Conv", function, [shape], [random(*weight)], attributes, np.float32)


def batch_norm(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, variance, scale, bias, eps=EPSILON)


EPSILON = 2.0**-10
"""A float32, as the attribute is."""


CASES = [
    Case("Identity", lambda x: x, [(2, 3)]),
    Case("Relu", torch.relu, [(2, 3, 4, 5)]),
    Case("Add", torch.add, [(2, 3, 4), (2, 3, 4)]),
    Case("Add", torch.add, [(2, 3, 4), (3, 1)]),
    Case("Add", torch.add, [(1,), (2, 3, 4)]),
    Case("Sub", torch.sub, [(2, 3, 4), (2, 1, 4)]),
    Case("Sub", torch.sub, [(4,), (2, 3, 4)]),
    Case("Mul", torch.mul, [(2, 3, 4), (2, 3, 4)]),
    Case("Mul", torch.mul, [(2, 3, 4), (1, 3, 1)]),
    Case("MatMul", torch.matmul, [(3, 4), (4, 5)]),
    Case("MatMul", torch.matmul, [(2, 3, 4), (2, 4, 5)]),
    Case("MatMul", torch.matmul, [(2, 3, 4), (4, 5)]),
    Case("MatMul", torch.matmul, [(1, 2, 3, 4), (6, 1, 4, 5)]),
    Case("Gemm", lambda a, b: 0.5 * a @ b, [(3, 4), (4, 5)], attributes={"alpha": 0.5}),
    Case("Gemm", lambda a, b: a @ b.T, [(3, 4), (5, 4)], attributes={"transB": 1}),
    Case("Gemm", lambda a, b: 2 * a.T @ b, [(4, 3), (4, 5)], attributes={"transA": 1, "alpha": 2.0}),
    Case("Gemm", lambda a, b: a.T @ b.T, [(4, 3), (5, 4)], attributes={"transA": 1, "transB": 1}),
    Case("Gemm", lambda a, b, c: a @ b + c, [(3, 4), (4, 5)], [random(5)]),
    Case("Reshape", lambda x: x.reshape(2, 12), [(2, 3, 4)], [integers(2, -1)]),
    Case("Flatten", lambda x: x.flatten(1), [(2, 3, 4, 5)]),
    Case("Flatten", lambda x: x.reshape(6, 20), [(2, 3, 4, 5)], attributes={"axis": 2}),
    Case("Squeeze", lambda x: x.squeeze(1), [(2, 1, 4)], [integers(1)]),
    Case("Unsqueeze", lambda x: x[:, None, :, None], [(2, 3)], [integers(1, 3)]),
    Case("GlobalAveragePool", lambda x: x.mean((2, 3), keepdim=True), [(2, 3, 4, 5)], dtype=np.float32),
    Case("GlobalAveragePool", lambda x: x.mean(2, keepdim=True), [(2, 3, 4)], dtype=np.float32),
    Case("ReduceMean", lambda x: x.mean((2, 3)), [(2, 3, 4, 5)], [integers(2, 3)], {"keepdims": 0}),
    Case("ReduceMean", lambda x: x.mean((2, 3), keepdim=True), [(2, 3, 4, 5)], [integers(-1, -2)]),
    Case("ReduceMean", lambda x: x.mean(1), [(2, 3, 4)], [integers(1)], {"keepdims": 0}),
    Case("ReduceMean", lambda x: x.mean((0, 1), keepdim=True), [(2, 3)]),
    Case("ReduceMean", lambda x: x, [(2, 3)], attributes={"noop_with_empty_axes": 1}),
    Case(
        "BatchNormalization",
        batch_norm,
        [(2, 3, 4, 5)],
        [random(3), random(3), random(3), RNG.uniform(0.5, 2, 3)],
        {"epsilon": EPSILON},
    ),
    Case(
        "BatchNormalization",
        batch_norm,
        [(4, 3)],
        [random(3), random(3), random(3), RNG.uniform(0.5, 2, 3)],
        {"epsilon": EPSILON},
    ),
    conv((2, 3, 6, 7), (4, 3, 1, 1)),
    conv((2, 3, 6, 7), (4, 3, 3, 3), pads=[1, 1, 1, 1]),
    conv((2, 3, 6, 7), (4, 3, 3, 3)),
    conv((2, 3, 6, 7), (4, 3, 5, 2), pads=[2, 0, 1, 1]),
    conv((2, 3, 6, 7), (4, 3, 1, 3), pads=[0, 1, 0, 1]),
    conv((2, 3, 9, 8), (4, 3, 3, 3), pads=[2, 2, 2, 2], dilations=[2, 2]),
    conv((2, 3, 6, 7), (4, 3, 1, 1), pads=[1, 0, 1, 2]),
    conv((2, 3, 8, 9), (4, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
    conv((2, 3, 9, 8), (4, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
    conv((2, 3, 8, 9), (4, 3, 1, 1), strides=[2, 2]),
    conv((2, 3, 8, 9), (4, 3, 2, 2), strides=[3, 3]),
    conv((2, 3, 10, 11), (4, 3, 7, 7), pads=[3, 3, 3, 3], strides=[2, 2]),
    conv((2, 3, 10, 11), (4, 3, 3, 3), pads=[0, 1, 2, 0], strides=[3, 2], dilations=[1, 2]),
    conv((2, 4, 6, 7), (6, 2, 3, 3), pads=[1, 1, 1, 1], group=2),
    conv((2, 4, 7, 6), (4, 1, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2], group=4),
    conv((2, 3, 9), (4, 3, 3), pads=[1, 1], strides=[2]),
    conv((1, 2, 4, 5, 6), (3, 2, 3, 3, 3), pads=[1] * 6),
]


def differentiate(case: Case, inputs: Sequence[NDArray[Any]]) -> ir.Model:
    """A graph with the node, a seed for its output, and the cotangent of each input as outputs."""
    arrays = [*inputs, *(c.astype(case.dtype) if c.dtype.kind == "f" else c for c in case.constants)]
    values = [
        ir.val(f"x{index}", ir.DataType.from_numpy(array.dtype), array.shape)
        for index, array in enumerate(arrays)
    ]
    for value, array in zip(values[len(inputs) :], arrays[len(inputs) :], strict=True):
        value.const_value = ir.tensor(array, name=value.name)
    graph = ir.Graph(
        values[: len(inputs)], [], nodes=[], initializers=values[len(inputs) :], opset_imports={"": 20}
    )
    builder = GraphBuilder(graph)
    output = builder.op(case.operator, values, case.attributes, name="the_node")
    model = ir.Model(graph, ir_version=10)
    graph.outputs.append(output)
    ShapeInferencePass()(model)
    seed = ir.val("seed", output.dtype, output.shape)
    graph.inputs.append(seed)
    targets = values[: len(inputs)]
    gradients = backpropagate(builder, output, seed, targets)
    # An Identity, because the rule may return the seed itself, and an input cannot be an output.
    graph.outputs.extend(builder.op("Identity", [gradients[target]]) for target in targets)
    for value, target in zip(graph.outputs[1:], targets, strict=True):
        value.shape, value.type = target.shape, target.type
    return model


def run(model: ir.Model, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.operator}-{case.shapes}-{dict(case.attributes)}"
)
def test_rule_agrees_with_autograd(case: Case) -> None:
    inputs = [random(*shape).astype(case.dtype) for shape in case.shapes]
    tensors = [torch.from_numpy(array).double().requires_grad_() for array in inputs]
    numbers = [torch.from_numpy(c).double() for c in case.constants if c.dtype.kind == "f"]
    result = case.function(*tensors, *numbers)
    seed = random(*result.shape).astype(case.dtype)
    expected = torch.autograd.grad(result, tensors, torch.from_numpy(seed).double())

    value, *actual = run(differentiate(case, inputs), [*inputs, seed])

    # float64 leaves its rounding over some dozens of terms; float32 has 1e-7, and up to 150 terms of size 1.
    tolerance = 1e-12 if case.dtype is np.float64 else 2e-5
    np.testing.assert_allclose(value, result.detach().numpy(), rtol=tolerance, atol=tolerance)
    for gradient, wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted.numpy(), rtol=tolerance, atol=tolerance)


def test_every_rule_has_a_case() -> None:
    assert {case.operator for case in CASES} == set(RULES)


def test_operator_without_rule_is_named_with_its_node_and_the_rules_there_are() -> None:
    case = Case("Erf", torch.erf, [(2, 3)])
    with pytest.raises(ExportError, match=r"'the_node' of operator Erf, which has no rule.*Add, BatchNormal"):
        differentiate(case, [random(2, 3)])


def test_operator_of_another_domain_has_no_rule() -> None:
    node = ir.Node("com.microsoft", "Relu", [ir.val("x")], name="fused")
    with pytest.raises(ExportError, match=r"'fused' of operator com\.microsoft\.Relu"):
        rule_of(node)


def test_batch_normalization_in_training_mode_is_refused() -> None:
    parameters = [np.ones(3)] * 4
    case = Case("BatchNormalization", torch.relu, [(2, 3, 4, 4)], parameters, {"training_mode": 1})
    with pytest.raises(ExportError, match="training mode"):
        differentiate(case, [random(2, 3, 4, 4)])


def test_convolution_with_automatic_padding_is_refused() -> None:
    case = conv((1, 2, 8, 8), (2, 2, 3, 3), auto_pad="SAME_UPPER")
    with pytest.raises(ExportError, match="auto_pad SAME_UPPER: expected explicit pads"):
        differentiate(case, [random(1, 2, 8, 8).astype(np.float32)])


def test_product_of_a_vector_is_refused() -> None:
    with pytest.raises(ExportError, match="multiplies a vector"):
        differentiate(Case("MatMul", torch.matmul, [(2, 3), (3,)]), [random(2, 3), random(3)])


def test_stride_one_is_a_convolution_and_stride_two_a_transposed_one() -> None:
    def backward_operators(**attributes: Any) -> set[str]:
        case = conv((1, 2, 8, 8), (2, 2, 3, 3), pads=[1, 1, 1, 1], **attributes)
        model = differentiate(case, [random(1, 2, 8, 8).astype(np.float32)])
        return {node.op_type for node in model.graph}

    assert "ConvTranspose" not in backward_operators()
    assert "ConvTranspose" in backward_operators(strides=[2, 2])


@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_no_backward_operator_reads_a_forward_weight(strides: list[int]) -> None:
    case = conv((1, 2, 8, 8), (2, 2, 1, 1), strides=strides)
    model = differentiate(case, [random(1, 2, 8, 8).astype(np.float32)])
    readers = [use.node for use in model.graph.initializers["x1"].uses()]
    assert [node.name for node in readers if node.op_type.startswith("Conv")] == ["the_node"]
