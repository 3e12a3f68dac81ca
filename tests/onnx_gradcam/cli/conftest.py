"""A classifier whose class scores are linear in the mean of its only layer."""

from pathlib import Path

import onnx.parser
import pytest

GRAPH = """<ir_version: 10, opset_import: ["": 20]>
classifier (float[N, 3, 8, 8] images) => (float[N, 4] probabilities) <float[4, 3] weight = {
    1.0, -0.5, 0.25,  -1.0, 0.75, 0.5,  0.5, 0.5, -1.0,  0.1, 0.2, 0.3 }> {
    small = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (images)
    features = Relu (small)
    pooled = GlobalAveragePool (features)
    flat = Flatten (pooled)
    scores = Gemm <transB = 1> (flat, weight)
    probabilities = Softmax (scores)
}"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), path)
    return path
