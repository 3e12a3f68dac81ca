"""What graphs cost, by hand."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from export.flops import count_gflops
from onnx_gradcam.builder import GraphBuilder


@pytest.mark.parametrize(("operator", "outer", "inner"), [("Conv", 8, 2), ("ConvTranspose", 4, 4)])
def test_channels_of_another_group_cost_nothing(operator: str, outer: int, inner: int) -> None:
    """4 channels in, 8 out, in two groups."""
    x = ir.val("x", ir.DataType.FLOAT, ["N", 4, 5, 6])
    builder = GraphBuilder(ir.Graph([x], [], nodes=[], opset_imports={"": 20}))
    weight = builder.constant(np.ones((outer, inner, 3, 3), np.float32))
    attributes = {"group": 2, "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    builder.graph.outputs.append(builder.op(operator, [x, weight], attributes))
    model = ir.Model(builder.graph, ir_version=10)
    ShapeInferencePass()(model)
    # Each of 30 pixels of 8 channels sums over 3 x 3 pixels of 2 channels.
    assert count_gflops(model) == pytest.approx(2 * 30 * 8 * 9 * 2 / 1e9)
