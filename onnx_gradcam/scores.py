"""The class scores that are explained: where they are in a graph, and which of them a gradient starts at."""

import numpy as np
import onnx_ir as ir

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import ModelError, OptionError
from onnx_gradcam.values import dimensions, is_floating, value_named

_LINKS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
"""Operators that turn scores into probabilities at the end of a classifier."""

_SHAPES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"})
"""Operators that may follow them."""


def find_scores(graph: ir.Graph, name: str | None) -> ir.Value:
    """Find the scores of a classifier.

    Args:
        graph: The classifier, with shapes.
        name: Name of the scores; None for the first output of shape (N, K), or the input of the Softmax,
            LogSoftmax or Sigmoid that computes it.

    Raises:
        OptionError: If there is no value of that name.
        ModelError: If no output has that shape.
    """
    if name is not None:
        return value_named(graph, name)
    for output in graph.outputs:
        sizes = dimensions(output) if output.shape is not None else []
        one_per_class = len(sizes) >= 2 and sizes[1] is not None and all(size == 1 for size in sizes[2:])
        if is_floating(output) and one_per_class:
            return _before_probabilities(output)
    raise ModelError(
        "no output of the graph has the shape (N, K) of a classifier's scores: name them with --scores; the "
        f"outputs are {', '.join(f'{output.name} {output.shape}' for output in graph.outputs)}"
    )


def _before_probabilities(output: ir.Value) -> ir.Value:
    """Return the scores from which a graph computes its probabilities; the output itself if it has none.

    Source: Selvaraju et al., 2017: "the gradient of the score for class c, y^c (before the softmax)"
    """
    value = output
    while (node := value.producer()) is not None and node.op_type in _SHAPES and node.inputs[0] is not None:
        value = node.inputs[0]
    if node is None or node.op_type not in _LINKS or node.inputs[0] is None:
        return output
    before = node.inputs[0]
    return before if before.shape is not None and len(before.shape) >= 2 else output


def number_of_scores(scores: ir.Value) -> int:
    """Count the scores of one image.

    Args:
        scores: Shape (N, K), with further axes of size 1, or (N) for a single score.

    Returns:
        K.

    Raises:
        OptionError: If the shape is another one, K is not fixed, or the elements are no floats.
    """
    sizes = dimensions(scores)
    count = sizes[1] if len(sizes) > 1 else 1
    if not sizes or count is None or any(size != 1 for size in sizes[2:]):
        raise OptionError(
            f"expected scores of shape (N, K) with a fixed K, and {scores.name!r} has {scores.shape}"
        )
    if not is_floating(scores):
        raise OptionError(
            f"expected scores that are floating-point numbers, and {scores.name!r} holds {scores.dtype}"
        )
    return count


def fixed_seed(builder: GraphBuilder, scores: ir.Value, index: int, scale: float) -> ir.Value:
    """Append the seed of a backward pass from one score, the same for each image.

    Args:
        scores: Shape (N, K), or as `number_of_scores` allows.
        index: Which score.
        scale: Value of the seed at that score; it is 0 elsewhere.

    Returns:
        The seed, of the scores' shape.

    Raises:
        OptionError: If there is no such score.
    """
    count = number_of_scores(scores)
    if not 0 <= index < count:
        raise OptionError(
            f"logit {index} of {scores.name!r} was asked for, and its shape is {scores.shape}: expected 0 to "
            f"{count - 1}"
        )
    row = np.zeros([1] + [count] * (len(dimensions(scores)) > 1) + [1] * len(dimensions(scores)[2:]))
    row.flat[index] = scale
    seed = builder.op("Expand", [builder.array_like(row, scores), builder.shape(scores)])
    seed.shape, seed.type = scores.shape, scores.type
    return seed


def chosen_seed(builder: GraphBuilder, scores: ir.Value, chosen: ir.Value, scale: float) -> ir.Value:
    """Append the seed from a score that is chosen for each image when the graph runs.

    Args:
        scores: Shape (N, K), or as `number_of_scores` allows.
        chosen: Index of a score for each image, shape (N), int64; one that does not exist gives zeros.
        scale: Value of the seed at that score; it is 0 elsewhere.

    Returns:
        The seed, of the scores' shape.
    """
    rank = len(dimensions(scores))
    numbers = np.arange(number_of_scores(scores), dtype=np.int64).reshape([-1] + [1] * max(rank - 2, 0))
    index = builder.reshape(chosen, [-1] + [1] * (rank - 1))
    found = builder.op("Equal", [index, builder.constant(numbers)])
    seed = builder.op("Where", [found, builder.number_like(scale, scores), builder.number_like(0, scores)])
    seed.shape, seed.type = scores.shape, scores.type
    return seed


def best_score(builder: GraphBuilder, scores: ir.Value) -> ir.Value:
    """Append the index of each image's largest score, the first of several.

    Args:
        scores: Shape (N, K), or as `number_of_scores` allows.

    Returns:
        Indices, shape (N), int64.
    """
    flat = builder.reshape(scores, [-1, number_of_scores(scores)])
    best = builder.op("ArgMax", [flat], {"axis": 1, "keepdims": 0})
    best.shape = ir.Shape([dimensions(scores)[0]])
    return best
