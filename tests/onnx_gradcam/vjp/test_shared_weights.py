"""A weight that a forward and a backward operator read, in OpenVINO, which may take one for the other."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from benchmarks.zoo.runtimes import load_onnxruntime, load_openvino
from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from tests.onnx_gradcam.vjp.case import Array, numbers

SIZE = 16


def square_product(operator: str) -> ir.Model:
    """y = x W with a square W, and the gradient of the sum of y^2."""
    weight = numbers(np.random.default_rng(0), SIZE, SIZE).astype(np.float32)
    x = ir.val("x", ir.DataType.FLOAT, ["N", 3, SIZE] if operator == "MatMul" else ["N", SIZE])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="square")
    builder = GraphBuilder(graph)
    attributes = {} if operator == "MatMul" else {"transB": int(operator == "Gemm, transposed")}
    product = builder.op(operator.partition(",")[0], [x, builder.constant(weight)], attributes)
    loss = builder.op("Mul", [product, product])
    model = ir.Model(graph, ir_version=10)
    graph.outputs.append(loss)
    ShapeInferencePass()(model)
    seed = builder.op("Expand", [builder.number_like(1, loss), builder.op("Shape", [loss])])
    seed.shape = loss.shape
    gradient = backpropagate(builder, loss, seed, [x])[x]
    gradient.name = "gradient"
    graph.outputs.append(gradient)
    return model


@pytest.mark.parametrize("operator", ["MatMul", "Gemm", "Gemm, transposed"])
def test_a_square_matrix_is_not_taken_for_its_transpose(operator: str, tmp_path: Path) -> None:
    model = square_product(operator)
    ir.save(model, tmp_path / "square.onnx")
    shape = (2, 3, SIZE) if operator == "MatMul" else (2, SIZE)
    x: Array = numbers(np.random.default_rng(1), *shape).astype(np.float32)
    weight = np.asarray(model.graph.initializers["constant_0"].const_value)
    matrix = weight.T if operator == "Gemm, transposed" else weight
    expected = 2 * x @ matrix @ matrix.T
    for load in (load_onnxruntime, load_openvino):
        found = load(tmp_path / "square.onnx")({"x": x})["gradient"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * np.abs(expected).max())
