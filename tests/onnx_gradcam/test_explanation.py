"""Heatmap outputs of classifiers that were exported elsewhere: layers, classes, sizes, what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_gradcam.errors import ModelError, OptionError, UnsupportedOperatorError
from onnx_gradcam.explanation import Explanation, add_heatmaps, list_layers
from onnx_gradcam.layers import last_layer

CLASSES = 5


class Network(nn.Module):
    """Two convolutions and a linear head on a mean; smooth, so that float32 is near to float64."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, CLASSES)

    def activations(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(self.second(torch.nn.functional.gelu(self.first(images))))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.activations(images).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network().eval()
    with torch.no_grad():  # no class is the best one of every image
        features = network.activations(torch.from_numpy(images(8))).mean((2, 3))
        network.head.bias.copy_(-network.head(features).mean(0) + network.head.bias)
    return network


@pytest.fixture(scope="module")
def model(network: Network) -> ir.Model:
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 16, 24),),
        input_names=["images"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model


def images(count: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, 3, 16, 24)).astype(np.float32)


def run(model: ir.Model | onnx.ModelProto, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def autograd(network: Network, pixels: NDArray[np.float32], classes: Sequence[int]) -> NDArray[np.float32]:
    """Raw Grad-CAM at the last layer."""
    activations = network.activations(torch.from_numpy(pixels))
    activations.retain_grad()
    scores = network.head(activations.mean((2, 3)))
    scores[torch.arange(len(classes)), list(classes)].sum().backward()
    assert activations.grad is not None
    alpha = activations.grad.mean((2, 3), keepdim=True)
    return (alpha * activations).sum(1).relu().detach().numpy()


def raw(logit: Any, **options: Any) -> Explanation:
    return Explanation(logit=logit, resize="none", normalize="none", **options)


def test_a_fixed_class_is_explained_as_autograd_does(network: Network, model: ir.Model) -> None:
    result = run(add_heatmaps(model, raw(2)), images=images())
    expected = autograd(network, images(), [2, 2, 2])
    assert (expected.max(axis=(1, 2)) > 0).all()
    np.testing.assert_allclose(result["heatmap"], expected, rtol=1e-4, atol=1e-7)


def test_the_best_class_of_each_image_is_explained_and_named(network: Network, model: ir.Model) -> None:
    result = run(add_heatmaps(model, raw("top")), images=images(8))
    best = result["scores"].argmax(axis=1)
    assert len(set(best.tolist())) > 1  # or this would show nothing
    np.testing.assert_array_equal(result["class_index"], best)
    np.testing.assert_allclose(
        result["heatmap"], autograd(network, images(8), best.tolist()), rtol=1e-4, atol=1e-7
    )


def test_a_class_may_be_given_with_each_image(network: Network, model: ir.Model) -> None:
    classes = np.array([4, 0, 2], np.int64)
    result = run(add_heatmaps(model, raw("input")), images=images(), class_index=classes)
    expected = autograd(network, images(), classes.tolist())
    np.testing.assert_allclose(result["heatmap"], expected, rtol=1e-4, atol=1e-7)


def test_the_models_own_outputs_stay_the_same_to_the_bit(model: ir.Model) -> None:
    before = run(model, images=images())
    after = run(add_heatmaps(model), images=images())
    np.testing.assert_array_equal(after["scores"], before["scores"])
    assert list(after) == ["scores", "class_index", "heatmap"]


def test_the_given_model_is_not_changed(model: ir.Model) -> None:
    before = ir.to_proto(model).SerializeToString()
    add_heatmaps(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_the_batch_stays_dynamic(model: ir.Model) -> None:
    explained = add_heatmaps(model, raw(1))
    one_by_one = [run(explained, images=image[None])["heatmap"] for image in images()]
    np.testing.assert_allclose(
        run(explained, images=images())["heatmap"], np.concatenate(one_by_one), atol=1e-6
    )


def test_heatmaps_have_the_inputs_size_and_a_maximum_of_one(model: ir.Model) -> None:
    heatmap = run(add_heatmaps(model), images=images())["heatmap"]
    assert heatmap.shape == (3, 16, 24)
    np.testing.assert_allclose(heatmap.max(axis=(1, 2)), 1)


def test_resizing_is_that_of_pytorch(model: ir.Model) -> None:
    small = run(add_heatmaps(model, raw(2)), images=images())["heatmap"]
    large = run(add_heatmaps(model, Explanation(logit=2, normalize="none")), images=images())["heatmap"]
    expected = nn.functional.interpolate(torch.from_numpy(small)[:, None], (16, 24), mode="bilinear")[:, 0]
    np.testing.assert_allclose(large, expected.numpy(), rtol=1e-5, atol=1e-7)


def test_several_layers_have_an_output_each(model: ir.Model) -> None:
    names = [str(layer.value.name) for layer in list_layers(model)]
    explained = add_heatmaps(model, raw(0, layers=(names[0], "last")))
    outputs = [value.name for value in explained.graph.outputs]
    assert outputs == [
        "scores",
        f"heatmap_{names[0]}",
        f"heatmap_{last_layer(list_layers(model)).value.name}",
    ]


def test_a_model_proto_comes_back_as_one(model: ir.Model) -> None:
    explained = add_heatmaps(ir.to_proto(model))
    assert isinstance(explained, onnx.ModelProto)
    assert {entry.key for entry in explained.metadata_props} >= {
        "heatmap_method", "heatmap_layers", "heatmap_scores", "heatmap_class",
    }  # fmt: skip


def test_probabilities_are_explained_by_the_scores_before_them(network: Network, model: ir.Model) -> None:
    proto = ir.to_proto(model)
    proto.graph.node.append(onnx.helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1))
    proto.graph.output[0].name = "probabilities"
    result = run(add_heatmaps(proto, raw(2)), images=images())
    np.testing.assert_allclose(
        result["heatmap"], autograd(network, images(), [2, 2, 2]), rtol=1e-4, atol=1e-7
    )


def test_nothing_is_computed_that_no_heatmap_needs(model: ir.Model) -> None:
    def backward_convolutions(layer: str) -> int:
        nodes = list(add_heatmaps(model, raw(0, layers=(layer,))).graph)
        return sum(node.op_type in ("Conv", "ConvTranspose") for node in nodes) - 2

    first = next(str(layer.value.name) for layer in list_layers(model))
    assert backward_convolutions("last") == 0
    assert backward_convolutions(first) == 1


@pytest.mark.parametrize(
    ("explanation", "message"),
    [
        (Explanation(layers=("nowhere",)), "no value 'nowhere': `onnx-gradcam layers` shows those"),
        (Explanation(logit=5), "logit 5 of 'scores' was asked for.*expected 0 to 4"),
        (Explanation(scores="absent"), "no value 'absent'"),
        (Explanation(layers=("scores",)), r"expected a layer of shape \(N, C, h, w\), and 'scores' has"),
    ],
)
def test_what_is_not_there_is_named(model: ir.Model, explanation: Explanation, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        add_heatmaps(model, explanation)


def test_a_model_that_has_heatmaps_is_not_given_them_again(model: ir.Model) -> None:
    with pytest.raises(ModelError, match=r"has a value 'class_index' already"):
        add_heatmaps(add_heatmaps(model))


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def test_a_graph_without_an_image_needs_no_resizing() -> None:
    model = parse("""<ir_version: 10, opset_import: ["": 20]>
        unknown (float[N, 7, 9, 9] x) => (float[N, 7] y)
        { a = Relu(x)  b = GlobalAveragePool(a)  y = Flatten(b) }""")
    with pytest.raises(OptionError, match=r"no input of the graph is an image.*--resize none"):
        add_heatmaps(model)
    assert run(add_heatmaps(model, raw("top", layers=("a",))), x=np.ones((2, 7, 9, 9), np.float32))


def test_a_graph_without_scores_lists_its_outputs() -> None:
    model = parse("""<ir_version: 10, opset_import: ["": 20]>
        masks (float[N, 3, 9, 9] x) => (float[N, 3, 9, 9] y) { y = Relu(x) }""")
    with pytest.raises(ModelError, match=r"name them with --scores; the outputs are y \[N,3,9,9\]"):
        add_heatmaps(model)


def test_a_graph_without_a_place_in_the_image_is_refused() -> None:
    model = parse("""<ir_version: 10, opset_import: ["": 20]>
        flat (float[N, 3, 9, 9] x) => (float[N, 243] y) { y = Flatten(x) }""")
    with pytest.raises(ModelError, match="no layer of the graph has a place in the image"):
        add_heatmaps(model)


def test_an_operator_without_a_rule_is_named_with_its_node() -> None:
    model = parse("""<ir_version: 10, opset_import: ["": 20]>
        odd (float[N, 3, 9, 9] x) => (float[N, 3] y)
        { a = GlobalAveragePool(x)  b = Relu(x)  c = Sin(b)  d = GlobalAveragePool(c)  y = Flatten(d) }""")
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"of operator Sin, which has no rule in onnx_gradcam/vjp; there are rules for Abs",
    ):
        add_heatmaps(model, raw(0, layers=("b",)))


def test_height_and_width_may_be_dynamic() -> None:
    torch.manual_seed(0)
    network = Network().eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 16, 24),),
        input_names=["images"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("N"), 2: torch.export.Dim("H"), 3: torch.export.Dim("W")},),
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    first = next(str(layer.value.name) for layer in list_layers(program.model))
    explained = add_heatmaps(program.model, Explanation((first, "last"), logit=2, normalize="none"))
    for height, width in ((16, 24), (21, 17)):
        pixels = np.random.default_rng(1).normal(size=(2, 3, height, width)).astype(np.float32)
        result = run(explained, images=pixels)
        expected = nn.functional.interpolate(
            torch.from_numpy(autograd(network, pixels, [2, 2]))[:, None], (height, width), mode="bilinear"
        )
        names = [name for name in result if name.startswith("heatmap")]
        np.testing.assert_allclose(result[names[1]], expected[:, 0].numpy(), rtol=1e-3, atol=1e-6)
        assert result[names[0]].shape == (2, height, width)
        assert result[names[0]].max() > 0
