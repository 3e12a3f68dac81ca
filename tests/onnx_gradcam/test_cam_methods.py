"""Each method against loops over channels and pixels, and against pytorch-grad-cam."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from torch import nn

from benchmarks.zoo.reference import LIBRARY
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.cam_methods import CAM_METHODS, Method

SHAPE = (2, 5, 4, 3)
RNG = np.random.default_rng(0)
ACTIVATIONS = np.maximum(RNG.normal(size=SHAPE) + 0.5, 0)  # as behind a ReLU
GRADIENTS = RNG.normal(size=SHAPE) * (RNG.uniform(size=SHAPE) > 0.2)  # a fifth are exactly zero

Array = NDArray[np.floating]


def run(method: Method, activations: Array, gradients: Array, scale: float = 1.0) -> Array:
    values = [ir.val(name, ir.DataType.DOUBLE, activations.shape) for name in ("activations", "gradients")]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 20})
    builder = GraphBuilder(graph)
    with builder.arithmetic():
        graph.outputs.append(CAM_METHODS[method](builder, *values, scale))
    session = onnxruntime.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())
    inputs = {"activations": activations, "gradients": gradients}
    return np.asarray(session.run(None, inputs)[0])


def by_loops(weight: Callable[[Array, Array], Array], activations: Array, gradients: Array) -> Array:
    """Sum over k of w_k A_k, with w_k from channel k alone."""
    heatmaps = np.zeros((len(activations), *activations.shape[2:]))
    for image in range(len(activations)):
        for channel in range(activations.shape[1]):
            a, g = activations[image, channel], gradients[image, channel]
            heatmaps[image] += weight(a, g) * a
    return heatmaps


def plus_plus(a: Array, g: Array) -> Array:
    weight = 0.0
    for slope in g.flat:
        if slope != 0:
            weight += slope**2 / (2 * slope**2 + slope**3 * a.sum()) * max(slope, 0)
    return np.asarray(weight)


WEIGHTS: dict[Method, Callable[[Array, Array], Array]] = {
    "gradcam": lambda a, g: g.mean(),
    "gradcam++": plus_plus,
    "xgradcam": lambda a, g: (g * a).sum() / (a.sum() + 1e-7),
    "layercam": lambda a, g: np.maximum(g, 0),
    "hirescam": lambda a, g: g,
}


@pytest.mark.parametrize("method", CAM_METHODS)
def test_method_agrees_with_loops(method: Method) -> None:
    expected = by_loops(WEIGHTS[method], ACTIVATIONS, GRADIENTS)
    np.testing.assert_allclose(run(method, ACTIVATIONS, GRADIENTS), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", CAM_METHODS)
def test_method_agrees_with_pytorch_grad_cam(method: Method) -> None:
    library = LIBRARY[method](nn.Conv2d(1, 1, 1), [])  # any model: activations and gradients are given
    expected = library.get_cam_image(None, None, None, ACTIVATIONS, GRADIENTS, eigen_smooth=False)
    # Its Grad-CAM++ adds 1e-6 to the denominator g^2 (2 + g sum A).
    tolerance = 1e-4 if method == "gradcam++" else 1e-12
    np.testing.assert_allclose(run(method, ACTIVATIONS, GRADIENTS), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", CAM_METHODS)
def test_the_scale_of_the_gradients_is_taken_out(method: Method) -> None:
    expected = run(method, ACTIVATIONS, GRADIENTS)
    np.testing.assert_allclose(run(method, ACTIVATIONS, GRADIENTS * 64, 64.0), expected, rtol=1e-12)


def test_grad_cam_plus_plus_does_not_depend_on_an_epsilon_where_gradients_are_small() -> None:
    small = GRADIENTS * 1e-5
    expected = by_loops(plus_plus, ACTIVATIONS, small)
    np.testing.assert_allclose(run("gradcam++", ACTIVATIONS, small), expected, rtol=1e-12, atol=1e-20)


def test_a_channel_that_is_zero_everywhere_adds_nothing() -> None:
    activations = ACTIVATIONS.copy()
    activations[:, 2] = 0
    for method in CAM_METHODS:
        found = run(method, activations, GRADIENTS)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(
            found, run(method, np.delete(activations, 2, 1), np.delete(GRADIENTS, 2, 1)), atol=1e-12
        )
