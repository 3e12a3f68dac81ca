"""The graphs that a bundle runs: image in, answers out, composed of the components.

image ─ normalise ─┬─ encoder ─┬─ features ──┬─ fusion ── melanoma_probability, ..._contribution, familiarity
(N, H, W, 3) uint8 ├─ ...      ├─ logits ────│─ sigmoid ─ indicator_probability                  classify
                   └─ encoder  ├─ heatmap, heatmap_scale                                           + cam
                               └─ heatmaps ── decoder ── mask_probability                         + full
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from biounet_edge.bundle.manifest import FAMILIARITY, InputSpec, Level
from biounet_edge.indicators import INDICATORS
from export.components import FUSION, add_output, decoder_name, encoder_name
from export.merge import merge_equal
from export.trace import IR_VERSION, OPSET, finish
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.values import dimensions

LEVEL_OUTPUTS: Mapping[Level, Sequence[str]] = {
    "classify": ("melanoma_probability", "melanoma_contribution", "indicator_probability"),
    "cam": (
        "melanoma_probability",
        "melanoma_contribution",
        "indicator_probability",
        "heatmap",
        "heatmap_scale",
    ),
    "full": (
        "melanoma_probability",
        "melanoma_contribution",
        "indicator_probability",
        "heatmap",
        "heatmap_scale",
        "mask_probability",
    ),
}
"""Outputs of each level's graph, in order; the score of familiarity follows where a model has it."""


def level_outputs(level: Level, components: Mapping[str, ir.Model]) -> tuple[str, ...]:
    """Name the outputs of one level's graph.

    Args:
        level: How much it computes.
        components: All components by name.

    Returns:
        Their names in order.
    """
    judges = any(output.name == FAMILIARITY for output in components[FUSION].graph.outputs)
    return (*LEVEL_OUTPUTS[level], *([FAMILIARITY] if judges else []))


def compose(level: Level, components: Mapping[str, ir.Model], spec: InputSpec) -> ir.Model:
    """Compose one level's graph.

    Args:
        level: How much it computes.
        components: All components by name; they stay as they are.
        spec: What the graph expects at its input.

    Returns:
        The graph, with nothing in it twice, and nothing that its outputs do not need.
    """
    return merge_equal(join(level, components, spec))


def join(level: Level, components: Mapping[str, ir.Model], spec: InputSpec) -> ir.Model:
    """Put one level's graph together, each encoder with all of its own blocks; see `compose`."""
    image = ir.val(spec.name, ir.DataType.UINT8, ["N", spec.height, spec.width, 3])
    graph = ir.Graph([image], [], nodes=[], opset_imports={"": OPSET}, name=level)
    builder = GraphBuilder(graph)
    pixels = _normalise(builder, image, spec)
    outputs: dict[str, list[ir.Value]] = {}
    for indicator in INDICATORS:
        found = splice(graph, components, encoder_name(indicator), pixels)
        if level == "full":
            found |= splice(graph, components, decoder_name(indicator), found["heatmaps"])
        for name, value in found.items():
            outputs.setdefault(name, []).append(value)
    results = splice(graph, components, FUSION, _stack(builder, outputs["features"]))
    logits = _stack(builder, outputs["logits"])  # (N, J, 2)
    first = builder.op("Gather", [logits, builder.constant(np.array(0, np.int64))], {"axis": 2})
    results["indicator_probability"] = builder.op("Sigmoid", [first])  # (N, J)
    for name in LEVEL_OUTPUTS[level][3:]:
        results[name] = _stack(builder, outputs[name])
    for name in level_outputs(level, components):
        add_output(graph, name, results[name], output_shapes(components)[name])
    return finish(ir.Model(graph, ir_version=IR_VERSION))


def output_shapes(components: Mapping[str, ir.Model]) -> dict[str, list[int]]:
    """Return the shape of every output that a level may have.

    Args:
        components: All components by name.

    Returns:
        Sizes without the batch axis by output name.
    """
    encoder = {value.name: value for value in components[encoder_name(INDICATORS[0])].graph.outputs}
    decoder = {value.name: value for value in components[decoder_name(INDICATORS[0])].graph.outputs}
    fusion = {str(value.name) for value in components[FUSION].graph.outputs}
    count = len(INDICATORS)
    return {
        "melanoma_probability": [],
        "melanoma_contribution": [count],
        "indicator_probability": [count],
        "heatmap": [count, *_fixed_sizes(encoder["heatmap"])],
        "heatmap_scale": [count],
        "mask_probability": [count, *_fixed_sizes(decoder["mask_probability"])],
        **({FAMILIARITY: []} if FAMILIARITY in fusion else {}),
    }


def splice(
    graph: ir.Graph, components: Mapping[str, ir.Model], name: str, source: ir.Value
) -> dict[str, ir.Value]:
    """Append a copy of a component to a graph; every name in it gets the component's name in front.

    Args:
        graph: The graph that grows.
        components: All components by name.
        name: The component, which has one input.
        source: What its input becomes.

    Returns:
        The component's outputs by their names in the component.
    """
    part = components[name].graph.clone()
    outputs = {str(value.name): value for value in part.outputs}
    part.inputs[0].replace_all_uses_with(source)
    weights = list(part.initializers.values())
    part.outputs.clear()
    part.initializers.clear()
    nodes = list(part)
    part.remove(nodes)
    for value in [*weights, *(output for node in nodes for output in node.outputs)]:
        value.name = f"{name}/{value.name}"
    for node in nodes:
        node.name = f"{name}/{node.name}"
    for weight in weights:
        graph.register_initializer(weight)
    graph.extend(nodes)
    return outputs


def _normalise(builder: GraphBuilder, image: ir.Value, spec: InputSpec) -> ir.Value:
    """Pixels (N, 3, H, W) float32 of an image (N, H, W, 3) uint8: (value / 255 - mean) / std."""
    value = builder.op("Cast", [image], {"to": int(ir.DataType.FLOAT)})
    value = builder.op("Div", [value, builder.constant(np.array(spec.value_range[1], np.float32))])
    value = builder.op("Sub", [value, builder.constant(np.array(spec.mean, np.float32))])
    value = builder.op("Div", [value, builder.constant(np.array(spec.std, np.float32))])
    return builder.op("Transpose", [value], {"perm": [0, 3, 1, 2]})


def _stack(builder: GraphBuilder, values: Sequence[ir.Value]) -> ir.Value:
    """Join one value per indicator, each (N, ...), to (N, J, ...)."""
    axis = builder.integers([1])
    return builder.op("Concat", [builder.op("Unsqueeze", [value, axis]) for value in values], {"axis": 1})


def _fixed_sizes(value: ir.Value) -> list[int]:
    return [size for size in dimensions(value) if size is not None]
