"""Graphs of one node, and what PyTorch, onnx.reference and ONNX Runtime make of them."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import ShapeInferencePass

from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from tests.onnx_gradcam.vjp.case import Array, Case, Sample, numbers


def forward(case: Case, sample: Sample, dtype: type, free: bool = False) -> ir.Model:
    """The node named the_node; its inputs are x0, x1, ..., its output y."""
    values: list[ir.Value | None] = []
    inputs, constants = [], []
    for place, array in enumerate(sample.inputs):
        if array is None:
            values.append(None)
            continue
        array = np.asarray(array.astype(dtype)) if array.dtype == np.float64 else array
        sizes = [
            f"size_{axis}" if free and place in sample.by and axis in sample.free else size
            for axis, size in enumerate(array.shape)
        ]
        value = ir.val(f"x{place}", ir.DataType.from_numpy(array.dtype), sizes)
        if place not in sample.by:
            value.const_value = ir.tensor(array, name=value.name)
        (inputs if place in sample.by else constants).append(value)
        values.append(value)
    node = ir.node(
        case.operator, values, dict(sample.attributes), num_outputs=sample.outputs, name="the_node"
    )
    for place, output in enumerate(node.outputs):
        output.name = "y" if place == sample.output else f"other_{place}"
    opset = {"": case.opset}
    graph = ir.Graph(
        inputs, [node.outputs[sample.output]], nodes=[node], initializers=constants, opset_imports=opset
    )
    model = ir.Model(graph, ir_version=11 if case.opset > 22 else 10)
    ShapeInferencePass()(model)
    return model


def backward(case: Case, sample: Sample, dtype: type, free: bool = False) -> ir.Model:
    """The same node; the cotangent of y is the input seed, those of the inputs are outputs behind y."""
    model = forward(case, sample, dtype, free)
    graph = model.graph
    builder = GraphBuilder(graph)
    targets = list(graph.inputs)
    output = graph.outputs[0]
    seed = ir.val("seed", output.dtype, output.shape)
    graph.inputs.append(seed)
    gradients = backpropagate(builder, output, seed, targets)
    # An Identity, because the rule may return the seed itself, and an input cannot be an output.
    graph.outputs.extend(builder.op("Identity", [gradients[target]]) for target in targets)
    for value, target in zip(graph.outputs[1:], targets, strict=True):
        value.shape, value.type = target.shape, target.type
    builder.remove_unused(keep=graph.outputs)
    return model


def compute(case: Case, model: ir.Model, arrays: Sequence[Array]) -> list[Array]:
    """What onnx.reference computes, or ONNX Runtime."""
    if not case.reference:
        return run(model, arrays)
    evaluator = ReferenceEvaluator(ir.to_proto(model))
    return [np.asarray(array) for array in evaluator.run(None, _feeds(model, arrays))]


def run(model: ir.Model, arrays: Sequence[Array]) -> list[Array]:
    """What ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, _feeds(model, arrays))]


def autograd(case: Case, sample: Sample) -> tuple[Array, Array, list[Array]]:
    """What PyTorch computes in float64.

    Returns:
        The output, a seed for its cotangent, and the gradients of the inputs.
    """
    tensors = [None if array is None else torch.tensor(array) for array in sample.inputs]
    targets = [tensor.requires_grad_() for place in sample.by if (tensor := tensors[place]) is not None]
    result = case.function(*tensors, **sample.attributes)
    result = result[sample.output] if isinstance(result, tuple) else result
    seed = numbers(np.random.default_rng(0), *result.shape)
    gradients = torch.autograd.grad(result, targets, torch.from_numpy(seed))
    return result.detach().numpy(), seed, [gradient.numpy() for gradient in gradients]


def differentiated(sample: Sample) -> list[Array]:
    """The inputs that the node is differentiated by."""
    return [array for place in sample.by if (array := sample.inputs[place]) is not None]


def assert_close(actual: Array, expected: Array, tolerance: float) -> None:
    """Same shape, and no difference above the tolerance times the largest number (or 1)."""
    assert actual.shape == expected.shape
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)


def _feeds(model: ir.Model, arrays: Sequence[Array]) -> dict[str, Array]:
    return {
        str(value.name): array.astype(value.dtype.numpy())
        for value, array in zip(model.graph.inputs, arrays, strict=True)
        if value.dtype is not None
    }
