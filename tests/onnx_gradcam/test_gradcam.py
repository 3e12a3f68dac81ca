"""Grad-CAM of a small classifier that was built node by node."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import OptionError
from onnx_gradcam.gradcam import add_gradcam

CLASSES = 4


@dataclass(frozen=True)
class Encoding:
    features: Tensor
    activations: list[Tensor]


class SmallEncoder(nn.Module):
    """Three convolutions, a residual connection and a pooled output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Encoding:
        first = torch.relu(self.conv1(x))
        second = torch.relu(first + self.conv2(first))
        third = torch.relu(self.conv3(second))
        return Encoding(third.mean((2, 3)), [first, second, third])


def explain(encoder: SmallEncoder, head: nn.Linear, pixels: Tensor, logit: int) -> list[Tensor]:
    """Raw heatmaps by autograd: ReLU(sum over k of alpha_k A_k), alpha_k the mean of the gradient."""
    encoding = encoder(pixels)
    gradients = torch.autograd.grad(head(encoding.features)[:, logit].sum(), encoding.activations)
    return [
        (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu().detach()
        for gradient, activation in zip(gradients, encoding.activations, strict=True)
    ]


def build(encoder: SmallEncoder, head: nn.Linear, batch: int | str = "N", size: int | str = 9) -> ir.Model:
    """The same classifier in ONNX, without PyTorch's exporter."""
    pixels = ir.val("pixels", ir.DataType.FLOAT, [batch, 3, size, size])
    graph = ir.Graph([pixels], [], nodes=[], opset_imports={"": 20})
    builder = GraphBuilder(graph)

    def weights(module: nn.Conv2d | nn.Linear) -> list[ir.Value]:
        return [builder.constant(p.detach().numpy()) for p in (module.weight, module.bias)]

    def conv(x: ir.Value, module: nn.Conv2d) -> ir.Value:
        attributes = {"pads": [1] * 4, "strides": list(module.stride)}
        return builder.op("Conv", [x, *weights(module)], attributes)

    first = builder.op("Relu", [conv(pixels, encoder.conv1)])
    second = builder.op("Relu", [builder.op("Add", [first, conv(first, encoder.conv2)])])
    third = builder.op("Relu", [conv(second, encoder.conv3)])
    pooled = builder.op("Flatten", [builder.op("GlobalAveragePool", [third])])
    logits = builder.op("Gemm", [pooled, *weights(head)], {"transB": 1})
    for value, name in zip(
        (first, second, third, logits), ("first", "second", "third", "logits"), strict=True
    ):
        value.name = name
    logits.shape, logits.dtype = ir.Shape([batch, CLASSES]), ir.DataType.FLOAT
    graph.outputs.append(logits)
    return ir.Model(graph, ir_version=10)


@pytest.fixture(scope="module")
def classifier() -> tuple[SmallEncoder, nn.Linear]:
    torch.manual_seed(1)
    return SmallEncoder().eval(), nn.Linear(12, CLASSES)


def run(model: ir.Model, heatmaps: list[ir.Value], pixels: Tensor) -> list[NDArray[np.float32]]:
    for value in heatmaps:
        value.dtype = ir.DataType.FLOAT
    model.graph.outputs.extend(heatmaps)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    return [np.asarray(array) for array in session.run(None, {"pixels": pixels.numpy()})[1:]]


@pytest.mark.parametrize("logit", range(CLASSES))
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_heatmaps_are_those_of_autograd(
    classifier: tuple[SmallEncoder, nn.Linear], batch: int, logit: int
) -> None:
    encoder, head = classifier
    pixels = torch.randn(batch, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    model = build(encoder, head)
    actual = run(model, add_gradcam(model, "logits", logit, ["first", "second", "third"]), pixels)
    expected = explain(encoder, head, pixels, logit)
    assert any(heatmap.any() for heatmap in expected)
    for heatmap, wanted in zip(actual, expected, strict=True):
        # Three layers in float32: rounding of 1e-7 of values of at most 1.
        np.testing.assert_allclose(heatmap, wanted.numpy(), atol=1e-6)


def test_stride_one_works_at_any_image_size(classifier: tuple[SmallEncoder, nn.Linear]) -> None:
    encoder, head = classifier
    model = build(encoder, head, size="S")
    heatmaps = add_gradcam(model, "logits", 0, ["third"])
    pixels = torch.randn(2, 3, 13, 13, generator=torch.Generator().manual_seed(2))
    expected = explain(encoder, head, pixels, 0)[-1]
    np.testing.assert_allclose(run(model, heatmaps, pixels)[0], expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [12, 13])
def test_a_stride_works_at_any_image_size(classifier: tuple[SmallEncoder, nn.Linear], size: int) -> None:
    encoder, head = classifier
    model = build(encoder, head, size="S")
    heatmaps = add_gradcam(model, "logits", 0, ["first", "second"])
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    expected = explain(encoder, head, pixels, 0)[:2]
    assert any(heatmap.any() for heatmap in expected)
    for heatmap, wanted in zip(run(model, heatmaps, pixels), expected, strict=True):
        np.testing.assert_allclose(heatmap, wanted.numpy(), atol=1e-6)


def test_the_last_block_costs_no_gradient_pass(classifier: tuple[SmallEncoder, nn.Linear]) -> None:
    model = build(*classifier)
    before = len(model.graph)
    add_gradcam(model, "logits", 0, ["third"])
    appended = [node.op_type for node in list(model.graph)[before:]]
    # One Expand for the seed (N, K), and none over space.
    assert sorted(set(appended)) == ["Div", "Expand", "Gemm", "MatMul", "Mul", "Relu", "Reshape", "Shape"]
    assert appended.count("Expand") == 1


def test_the_models_own_output_stays(classifier: tuple[SmallEncoder, nn.Linear]) -> None:
    model = build(*classifier)
    add_gradcam(model, "logits", 0, ["first"])
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_unknown_names_and_logits_are_refused(classifier: tuple[SmallEncoder, nn.Linear]) -> None:
    with pytest.raises(OptionError, match="no value 'fourth': `onnx-gradcam layers` shows those"):
        add_gradcam(build(*classifier), "logits", 0, ["fourth"])
    with pytest.raises(OptionError, match=r"logit 4 of 'logits' was asked for, and its shape is \[N,4\]"):
        add_gradcam(build(*classifier), "logits", 4, ["first"])
