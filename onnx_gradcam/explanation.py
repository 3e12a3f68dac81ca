"""Heatmap outputs for an ONNX classifier that anyone trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.version_converter import convert_version

from biounet_edge.errors import ExportError
from onnx_gradcam.builder import GraphBuilder, dimensions
from onnx_gradcam.cam_methods import Method
from onnx_gradcam.gradcam import best_score, chosen_seed, explain, fixed_seed, gradient_scale
from onnx_gradcam.heatmaps import divide_by_maximum, resize_maps
from onnx_gradcam.layers import Layer, channels_first, find_layers, last_layer

OLDEST_OPSET = 18
"""Operator set that a graph of an older one is converted to: rules append nodes of this one."""

CLASS_INDEX = "class_index"
"""Input or output that names the explained class of each image."""

HEATMAP = "heatmap"
"""Output of the only layer; of several layers each has its name behind this one."""

_LINKS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
"""Operators that make probabilities of scores at the end of a classifier."""

_SHAPES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"})
"""Operators that may stand behind them."""

_COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class Explanation:
    """What heatmaps are made."""

    layers: Sequence[str] = ("last",)
    """Names of the values that are explained; "last" is the last one with a place in the image."""
    logit: int | Literal["top", "input"] = "top"
    """Index of the class that is explained; "top" for the best class of each image, "input" for one that is
    given to the graph with each image."""
    scores: str | None = None
    """Name of the scores, shape (N, K); None for the first output of that shape, or for what a Softmax,
    LogSoftmax or Sigmoid at its end is computed from."""
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
    """Gives a classifier heatmap outputs.

    Its own outputs, and its dynamic sizes, stay as they are. What is added are nodes of standard operators,
    which need no weights of their own.

    Args:
        model: An ONNX classifier of images; it is not changed.
        explanation: What heatmaps; None for the defaults.

    Returns:
        A model of the same kind with an output "heatmap", shape (N, h, w), or one for each of several layers.
        With logit "input" it has an input "class_index", with "top" an output of that name: shape (N), int64.

    Raises:
        ExportError: If there is no such layer, score or class, the gradient passes through an operator
            without a rule, or the shapes cannot be inferred.
    """
    explanation = explanation or Explanation()
    copy = model.clone() if isinstance(model, ir.Model) else ir.from_proto(model)
    _prepare(copy)
    scores = find_scores(copy.graph, explanation.scores)
    layers = choose_layers(copy.graph, scores, explanation.layers)
    _append(copy, scores, layers, explanation)
    copy.metadata_props["heatmap_method"] = explanation.method
    copy.metadata_props["heatmap_layers"] = ",".join(str(layer.value.name) for layer in layers)
    copy.metadata_props["heatmap_scores"] = str(scores.name)
    copy.metadata_props["heatmap_class"] = str(explanation.logit)
    return copy if isinstance(model, ir.Model) else ir.to_proto(copy)


def list_layers(model: onnx.ModelProto | ir.Model, scores: str | None = None) -> list[Layer]:
    """Lists what can be explained.

    Args:
        model: An ONNX classifier of images; it is not changed.
        scores: Name of the scores, as in `Explanation`.

    Returns:
        Layers in the order of the graph; the last one is not always what "last" means.

    Raises:
        ExportError: If there are no such scores, or shapes cannot be inferred.
    """
    copy = model.clone() if isinstance(model, ir.Model) else ir.from_proto(model)
    _prepare(copy)
    return find_layers(copy.graph, find_scores(copy.graph, scores))


def find_scores(graph: ir.Graph, name: str | None) -> ir.Value:
    """Finds what is explained.

    Args:
        graph: The classifier, with shapes.
        name: Name of a value; None for what stands in front of the probabilities of the first output (N, K).

    Returns:
        The scores.

    Raises:
        ExportError: If there is none.
    """
    if name is not None:
        return _named(graph, name)
    for output in graph.outputs:
        sizes = dimensions(output) if output.shape is not None else []
        floating = output.dtype is not None and output.dtype.is_floating_point()
        if floating and len(sizes) >= 2 and sizes[1] is not None and all(size == 1 for size in sizes[2:]):
            return _before_probabilities(output)
    raise ExportError(
        "no output of the graph has the shape (N, K) of a classifier's scores: name them with --scores; the "
        f"outputs are {', '.join(f'{output.name} {output.shape}' for output in graph.outputs)}"
    )


def choose_layers(graph: ir.Graph, scores: ir.Value, names: Sequence[str]) -> list[Layer]:
    """Finds the layers of these names.

    Args:
        graph: The classifier, with shapes.
        scores: What is explained.
        names: Names of values, or "last".

    Returns:
        The layers.

    Raises:
        ExportError: If there is no such layer.
    """
    known = {str(layer.value.name): layer for layer in find_layers(graph, scores)}
    return [
        last_layer(list(known.values()))
        if name == "last"
        else known[name]
        if name in known
        else channels_first(_named(graph, name))
        for name in dict.fromkeys(names)
    ]


def _prepare(model: ir.Model) -> None:
    """Brings a graph to where rules can be applied: functions inlined, operator set, shapes."""
    if model.functions:
        passes.InlinePass()(model)
    version = model.graph.opset_imports.get("")
    if version is not None and version < OLDEST_OPSET:
        try:
            convert_version(model, OLDEST_OPSET, fallback=True)
        except Exception as error:  # the converters' errors share no base class
            raise ExportError(
                f"the graph is of operator set {version}, which cannot be converted to {OLDEST_OPSET} "
                f"({error}): export the model again with a newer operator set"
            ) from error
        if model.graph.opset_imports.get("") != OLDEST_OPSET:
            raise ExportError(
                f"the graph is of operator set {version}, which cannot be converted to {OLDEST_OPSET}: "
                "export the model again with a newer operator set"
            )
    passes.ShapeInferencePass()(model)


def _named(graph: ir.Graph, name: str) -> ir.Value:
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    if name not in values:
        raise ExportError(f"the graph has no value {name!r}: --list-layers shows those that can be explained")
    return values[name]


def _before_probabilities(output: ir.Value) -> ir.Value:
    """What the class scores are, where a graph returns their probabilities.

    Source: Selvaraju et al., 2017: "the gradient of the score for class c, y^c (before the softmax)"
    """
    value = output
    while (node := value.producer()) is not None and node.op_type in _SHAPES and node.inputs[0] is not None:
        value = node.inputs[0]
    if node is None or node.op_type not in _LINKS or node.inputs[0] is None:
        return output
    before = node.inputs[0]
    return before if before.shape is not None and len(before.shape) >= 2 else output


def _append(model: ir.Model, scores: ir.Value, layers: Sequence[Layer], explanation: Explanation) -> None:
    graph, builder = model.graph, GraphBuilder(model.graph)
    image = _image_size(graph)
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
            heatmap, size = _resized(builder, heatmap, image)
        if explanation.normalize == "max":
            heatmap, _ = divide_by_maximum(builder, heatmap)
        heatmap.shape = ir.Shape([*batch, *size])
        results[name] = heatmap
    builder.remove_unused(keep=list(results.values()))
    for name, value in results.items():
        _check_free(graph, name)
        value.name = name
        graph.outputs.append(value)
    passes.ShapeInferencePass()(model)


def _check_free(graph: ir.Graph, name: str) -> None:
    if name in ir.convenience.create_value_mapping(graph, include_subgraphs=False):
        raise ExportError(f"the graph has a value {name!r} already: expected a classifier without heatmaps")


@dataclass(frozen=True)
class _ImageSize:
    """Where a graph says how large its images are."""

    image: ir.Value
    """The input."""
    start: int
    """Axis of the height; the next is the width."""


def _image_size(graph: ir.Graph) -> _ImageSize | None:
    for value in graph.inputs:
        sizes = dimensions(value) if value.shape is not None else []
        if len(sizes) == 4 and not value.is_initializer():
            for axis, start in ((1, 2), (3, 1)):
                if sizes[axis] in _COLOURS:
                    return _ImageSize(value, start)
    return None


def _resized(
    builder: GraphBuilder, heatmap: ir.Value, image: _ImageSize | None
) -> tuple[ir.Value, Sequence[int | ir.SymbolicDim]]:
    """The heatmap with height and width of the image, and both."""
    if image is None or image.image.shape is None or heatmap.shape is None:
        raise ExportError(
            "no input of the graph is an image, (N, C, H, W) or (N, H, W, C) with up to four colours: "
            "heatmaps cannot have its size, leave them as they are with --resize none"
        )
    end = image.start + 2
    height, width = dimensions(image.image)[image.start : end]
    size: tuple[int, int] | ir.Value = builder.shape(image.image, image.start, end)
    if height is not None and width is not None:
        size = (height, width)
    axis = builder.integers([1])
    maps = builder.op("Unsqueeze", [heatmap, axis])  # (N, 1, h, w)
    maps.shape = ir.Shape([heatmap.shape[0], 1, *heatmap.shape[1:]])
    resized = builder.op("Squeeze", [resize_maps(builder, maps, size), axis])  # (N, H, W)
    return resized, image.image.shape[image.start : end]
