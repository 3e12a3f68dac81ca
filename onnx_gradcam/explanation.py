"""Heatmap outputs for an ONNX classifier that anyone trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.cam_methods import Method
from onnx_gradcam.errors import ModelError
from onnx_gradcam.gradcam import explain, gradient_scale
from onnx_gradcam.heatmaps import divide_by_maximum
from onnx_gradcam.image_size import find_image, resize_to_image
from onnx_gradcam.layers import Layer, choose_layers, find_layers
from onnx_gradcam.preparation import prepare
from onnx_gradcam.scores import best_score, chosen_seed, find_scores, fixed_seed

CLASS_INDEX = "class_index"
"""Input or output that names the explained class of each image."""

HEATMAP = "heatmap"
"""Output of a single layer; of several layers, each has its name after this one."""


@dataclass(frozen=True)
class Explanation:
    """Which heatmaps a classifier is given."""

    layers: Sequence[str] = ("last",)
    """Names of the values that are explained; "last" is the last spatial layer."""
    logit: int | Literal["top", "input"] = "top"
    """Index of the class that is explained; "top" for the best class of each image, "input" for one that is
    given to the graph with each image."""
    scores: str | None = None
    """Name of the scores, shape (N, K). None for the first output of that shape, or the input of its final
    Softmax, LogSoftmax or Sigmoid."""
    method: Method = "gradcam"
    """How activations and gradients become a heatmap."""
    resize: Literal["input", "none"] = "input"
    """Whether heatmaps have the size of the input, or that of their layer."""
    normalize: Literal["max", "none"] = "max"
    """Whether each heatmap is divided by its maximum, or comes in units of the score."""


@overload
def add_heatmaps(model: onnx.ModelProto, explanation: Explanation | None = None) -> onnx.ModelProto: ...


@overload
def add_heatmaps(model: ir.Model, explanation: Explanation | None = None) -> ir.Model: ...


def add_heatmaps(
    model: onnx.ModelProto | ir.Model, explanation: Explanation | None = None
) -> onnx.ModelProto | ir.Model:
    """Give a classifier heatmap outputs.

    Its own outputs, and its dynamic sizes, stay as they are. What is added are nodes of standard operators,
    which need no weights of their own.

    Args:
        model: An ONNX classifier of images; it is not changed.
        explanation: Which heatmaps; None for the defaults.

    Returns:
        A model of the same kind with an output "heatmap", shape (N, h, w), or one for each of several layers.
        With logit "input" it has an input "class_index", with "top" an output of that name: shape (N), int64.

    Raises:
        OptionError: If there is no such layer, score or class.
        ModelError: If the shapes cannot be inferred, or the model has heatmaps already.
        UnsupportedOperatorError: If the gradient passes through an operator without a rule.
        DependencyError: If the operator set has to be converted, and onnxscript is not installed.
    """
    explanation = explanation or Explanation()
    copy = _prepared_copy(model)
    scores = find_scores(copy.graph, explanation.scores)
    layers = choose_layers(copy.graph, scores, explanation.layers)
    _append(copy, scores, layers, explanation)
    copy.metadata_props["heatmap_method"] = explanation.method
    copy.metadata_props["heatmap_layers"] = ",".join(str(layer.value.name) for layer in layers)
    copy.metadata_props["heatmap_scores"] = str(scores.name)
    copy.metadata_props["heatmap_class"] = str(explanation.logit)
    return copy if isinstance(model, ir.Model) else ir.to_proto(copy)


def list_layers(model: onnx.ModelProto | ir.Model, scores: str | None = None) -> list[Layer]:
    """List the layers that can be explained.

    Args:
        model: An ONNX classifier of images; it is not changed.
        scores: Name of the scores, as in `Explanation`.

    Returns:
        Layers in the order of the graph; "last" means the one that `last_layer` chooses.

    Raises:
        OptionError: If there are no such scores.
        ModelError: If no output has the shape of scores, or shapes cannot be inferred.
        DependencyError: If the operator set has to be converted, and onnxscript is not installed.
    """
    copy = _prepared_copy(model)
    return find_layers(copy.graph, find_scores(copy.graph, scores))


def _prepared_copy(model: onnx.ModelProto | ir.Model) -> ir.Model:
    copy = model.clone() if isinstance(model, ir.Model) else ir.from_proto(model)
    prepare(copy)
    return copy


def _append(model: ir.Model, scores: ir.Value, layers: Sequence[Layer], explanation: Explanation) -> None:
    graph, builder = model.graph, GraphBuilder(model.graph)
    image = find_image(graph)
    batch = ir.Shape([graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else None])
    scale = gradient_scale(layers)
    results: dict[str, ir.Value] = {}
    if isinstance(explanation.logit, int):
        seed = fixed_seed(builder, scores, explanation.logit, scale)
    elif explanation.logit == "top":
        results[CLASS_INDEX] = best_score(builder, scores)
        results[CLASS_INDEX].shape = ir.Shape(batch)
        seed = chosen_seed(builder, scores, results[CLASS_INDEX], scale)
    else:
        _check_free(graph, CLASS_INDEX)
        chosen = ir.val(CLASS_INDEX, ir.DataType.INT64, ir.Shape(batch))
        graph.inputs.append(chosen)
        seed = chosen_seed(builder, scores, chosen, scale)
    heatmaps = explain(builder, scores, seed, scale, layers, explanation.method)
    for layer, heatmap in zip(layers, heatmaps, strict=True):
        name = HEATMAP if len(layers) == 1 else f"{HEATMAP}_{layer.value.name}"
        size: Sequence[int | ir.SymbolicDim | None] = layer.layout.grid
        if explanation.resize == "input":
            heatmap, size = resize_to_image(builder, heatmap, image)
        if explanation.normalize == "max":
            heatmap, _ = divide_by_maximum(builder, heatmap)
        heatmap.shape = ir.Shape([*batch, *size])
        results[name] = heatmap
    builder.remove_unused(keep=list(results.values()))
    for name, value in results.items():
        _check_free(graph, name)
        value.name = name
        graph.outputs.append(value)
    ShapeInferencePass()(model)


def _check_free(graph: ir.Graph, name: str) -> None:
    if name in ir.convenience.create_value_mapping(graph, include_subgraphs=False):
        raise ModelError(f"the graph has a value {name!r} already: expected a classifier without heatmaps")
