"""A classifier that did not come from PyTorch: channels last outside its convolutions, as Keras computes,
automatic padding, probabilities at its end, and an old operator set."""

from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.zoo.runtimes import compile_with_tensorrt_rtx, load_openvino
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile
from onnx_gradcam.explanation import Explanation, add_heatmaps, list_layers
from onnx_gradcam.layers import last_layer

RNG = np.random.default_rng(0)

WEIGHTS = {
    "w1": RNG.normal(size=(6, 3, 3, 3)) / 3,
    "b1": RNG.normal(size=6) + 1,
    "w2": RNG.normal(size=(6, 1, 4, 4)) / 2,
    "gamma": RNG.uniform(0.5, 2, 6),
    "beta": RNG.normal(size=6),
    "mean": RNG.normal(size=6),
    "variance": RNG.uniform(0.5, 2, 6),
    "scale": RNG.uniform(0.5, 2, 6),
    "shift": RNG.normal(size=6),
    "w3": RNG.normal(size=(6, 4)),
    "b3": RNG.normal(size=4),
    "zero": np.array(0.0),
    "six": np.array(6.0),
}

GRAPH = """<ir_version: 7, opset_import: ["": 13]>
keras (float[N, 17, 15, 3] images) => (float[N, 4] probabilities) {
    channels_first = Transpose <perm = [0, 3, 1, 2]> (images)
    convolved = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (channels_first, w1, b1)
    relu6 = Clip (convolved, zero, six)
    depthwise = Conv <auto_pad = "SAME_LOWER", group = 6> (relu6, w2)
    normal = BatchNormalization <epsilon = 0.001> (depthwise, gamma, beta, mean, variance)
    gate = Sigmoid (normal)
    swish = Mul (normal, gate)
    pooled = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [2, 2]> (swish)
    channels_last = Transpose <perm = [0, 2, 3, 1]> (pooled)
    scaled = Mul (channels_last, scale)
    shifted = Add (scaled, shift)
    features = Relu (shifted)
    average = ReduceMean <axes = [1, 2], keepdims = 0> (features)
    product = MatMul (average, w3)
    logits = Add (product, b3)
    probabilities = Softmax (logits)
}"""


@pytest.fixture(scope="module")
def model() -> ir.Model:
    proto = onnx.parser.parse_model(GRAPH)
    for name, array in WEIGHTS.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.checker.check_model(proto, full_check=True)
    return ir.from_proto(proto)


def heatmaps(images: NDArray[np.float32], classes: list[int]) -> dict[str, NDArray[np.float64]]:
    """The same network in PyTorch and float64, explained by autograd."""
    w = {name: torch.from_numpy(array.astype(np.float32)).double() for name, array in WEIGHTS.items()}
    x = torch.from_numpy(images).double().permute(0, 3, 1, 2)
    x = functional.conv2d(functional.pad(x, (1, 1, 1, 1)), w["w1"], w["b1"], stride=2)  # 17 x 15 to 9 x 8
    relu6 = x.clamp(0, 6).requires_grad_()
    x = functional.conv2d(functional.pad(relu6, (2, 1, 2, 1)), w["w2"], groups=6)
    x = functional.batch_norm(
        x, w["mean"], w["variance"], w["gamma"], w["beta"], eps=float(np.float32(0.001))
    )
    x = functional.pad(functional.silu(x), (0, 1, 1, 1), value=-np.inf)
    features = (functional.max_pool2d(x, 3, 2).permute(0, 2, 3, 1) * w["scale"] + w["shift"]).relu()  # 5 x 4
    features.retain_grad()
    logits = features.mean((1, 2)) @ w["w3"] + w["b3"]
    logits[torch.arange(len(classes)), classes].sum().backward()

    def gradcam(activations: Tensor, gradient: Tensor | None) -> NDArray[np.float64]:
        assert gradient is not None
        alpha = gradient.mean((2, 3), keepdim=True)
        return np.asarray((alpha * activations).sum(1).relu().detach().numpy())

    assert features.grad is not None
    return {
        "relu6": gradcam(relu6, relu6.grad),
        "features": gradcam(features.permute(0, 3, 1, 2), features.grad.permute(0, 3, 1, 2)),
    }


def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(3, 17, 15, 3)).astype(np.float32)


def test_the_last_layer_has_its_channels_last(model: ir.Model) -> None:
    layer = last_layer(list_layers(model))
    assert layer.value.name == "features"
    assert (layer.layout.channel, layer.layout.space, layer.layout.grid) == (3, (1, 2), (5, 4))


def test_heatmaps_are_those_of_autograd(model: ir.Model, tmp_path: Path) -> None:
    classes = [1, 0, 0]
    explained = add_heatmaps(model, Explanation(("relu6", "last"), "input", resize="none", normalize="none"))
    inputs = {"images": images(), "class_index": np.array(classes)}
    ir.save(explained, tmp_path / "explained.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "explained.onnx")
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(None, inputs), strict=True))
    other = load_openvino(tmp_path / "explained.onnx")(inputs)
    for name, expected in heatmaps(images(), classes).items():
        assert (expected.max(axis=(1, 2)) > 0).all()
        np.testing.assert_allclose(found[f"heatmap_{name}"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(other[f"heatmap_{name}"], expected, rtol=1e-4, atol=1e-6)


def test_probabilities_stay_and_heatmaps_have_the_size_of_an_image_with_channels_last(
    model: ir.Model,
) -> None:
    plain = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    session = onnxruntime.InferenceSession(ir.to_proto(add_heatmaps(model)).SerializeToString())
    probabilities, best, heatmap = session.run(None, {"images": images()})
    expected = plain.run(None, {"images": images()})[0]  # in which ONNX Runtime fuses what is an output here
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    np.testing.assert_array_equal(best, probabilities.argmax(axis=1))
    assert heatmap.shape == (3, 17, 15)


def test_the_graph_compiles_with_tensorrt_rtx(model: ir.Model, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason='not installed: pip install "biounet-edge[tensorrt-rtx]"')
    path = tmp_path / "explained.onnx"
    ir.save(add_heatmaps(model, Explanation(("relu6", "last"))), path)
    assert compile_with_tensorrt_rtx(path, BatchProfile(1, 2, 4)) > 1000
