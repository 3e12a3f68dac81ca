"""Which axes of a value are what, and which layers can be explained."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import ModelError, OptionError
from onnx_gradcam.layers import channels_first, find_layers, last_layer
from onnx_gradcam.layouts import Layout, find_layouts


class Draft:
    """A graph that grows from images (N, 3, 6, 4)."""

    def __init__(self) -> None:
        self.images = ir.val("images", ir.DataType.FLOAT, ["N", 3, 6, 4])
        self.graph = ir.Graph([self.images], [], nodes=[], opset_imports={"": 20}, name="draft")
        self.builder = GraphBuilder(self.graph)
        self.maps = self.op("Conv", self.images, self.weight(3, 3, 1, 1), name="maps")

    def weight(self, *sizes: int) -> ir.Value:
        return self.builder.constant(np.random.default_rng(0).normal(size=sizes).astype(np.float32))

    def op(self, operator: str, *inputs: ir.Value, name: str | None = None, **attributes: object) -> ir.Value:
        value = self.builder.op(operator, inputs, attributes)
        if name is not None:
            value.name = name
        return value

    def reshape(self, value: ir.Value, *sizes: int) -> ir.Value:
        return self.builder.reshape(value, sizes)

    def transpose(self, value: ir.Value, *perm: int) -> ir.Value:
        return self.op("Transpose", value, perm=list(perm))

    def channels_last(self) -> ir.Value:
        return self.transpose(self.maps, 0, 2, 3, 1)

    def tokens(self) -> ir.Value:
        return self.transpose(self.reshape(self.maps, 0, 3, 24), 0, 2, 1)  # (N, 24, 3)

    def with_class_token(self) -> ir.Value:
        batch = self.builder.op("Shape", [self.images], {"start": 0, "end": 1})
        shape = self.op("Concat", batch, self.builder.integers([1, 3]), axis=0)
        token = self.op("Expand", self.weight(1, 1, 3), shape)
        return self.op("Concat", token, self.tokens(), axis=1)  # (N, 25, 3)

    def normalise(self, value: ir.Value, name: str) -> ir.Value:
        return self.op("LayerNormalization", value, self.weight(3), name=name)

    def slice(self, value: ir.Value, axis: int, start: int, end: int) -> ir.Value:
        return self.op("Slice", value, *(self.builder.integers([n]) for n in (start, end, axis)))

    def finish(self, *outputs: ir.Value) -> ir.Graph:
        self.graph.outputs.extend(outputs)
        ShapeInferencePass()(ir.Model(self.graph, ir_version=10))
        return self.graph


NCHW = Layout(1, (2, 3), (6, 4))
NHWC = Layout(3, (1, 2), (6, 4))
TOKENS = Layout(2, (1,), (6, 4))

CASES: Sequence[tuple[str, Callable[[Draft], ir.Value], Layout | None]] = [
    ("convolution", lambda d: d.maps, NCHW),
    ("pooling", lambda d: d.op("MaxPool", d.maps, kernel_shape=[2, 2]), Layout(1, (2, 3), (5, 3))),
    ("activation", lambda d: d.op("Relu", d.maps), NCHW),
    ("broadcast", lambda d: d.op("Add", d.weight(3, 1, 1), d.maps), NCHW),
    ("concatenation", lambda d: d.op("Concat", d.maps, d.maps, axis=1), NCHW),
    ("mean over space", lambda d: d.op("GlobalAveragePool", d.maps), Layout(1, (2, 3), (1, 1))),
    ("transposition", lambda d: d.channels_last(), NHWC),
    ("and back", lambda d: d.transpose(d.channels_last(), 0, 3, 1, 2), NCHW),
    ("channels last", lambda d: d.op("Mul", d.channels_last(), d.weight(3)), NHWC),
    ("matrix", lambda d: d.op("MatMul", d.channels_last(), d.weight(3, 7)), NHWC),
    ("matrix on rows", lambda d: d.op("MatMul", d.maps, d.weight(4, 4)), None),
    ("height and width swapped", lambda d: d.transpose(d.maps, 0, 1, 3, 2), None),
    ("row of pixels", lambda d: d.reshape(d.maps, 0, 3, 24), Layout(1, (2,), (6, 4))),
    ("row of channels last", lambda d: d.reshape(d.channels_last(), 0, 24, 3), TOKENS),
    ("tokens", lambda d: d.tokens(), TOKENS),
    ("grid of tokens", lambda d: d.reshape(d.tokens(), 0, 6, 4, 3), NHWC),
    ("other grid", lambda d: d.reshape(d.tokens(), 0, 8, 3, 3), None),
    ("class token", lambda d: d.with_class_token(), Layout(2, (1,), (6, 4), prefix=1)),
    ("class token removed", lambda d: d.slice(d.with_class_token(), 1, 1, 25), TOKENS),
    ("part of the tokens", lambda d: d.slice(d.with_class_token(), 1, 3, 25), None),
    ("token behind", lambda d: d.op("Concat", d.tokens(), d.tokens(), axis=1), None),
    ("flat", lambda d: d.op("Flatten", d.maps), None),
]  # fmt: skip


@pytest.mark.parametrize(("build", "layout"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_layout_follows_from_the_operators(build: Callable[[Draft], ir.Value], layout: Layout | None) -> None:
    draft = Draft()
    value = build(draft)
    assert find_layouts(draft.finish(value)).get(value) == layout


def test_layers_are_those_that_the_scores_depend_on_and_have_more_than_one_pixel() -> None:
    draft = Draft()
    features = draft.op("Relu", draft.maps, name="features")
    draft.op("Sigmoid", draft.maps, name="unused")
    scores = draft.op("Flatten", draft.op("GlobalAveragePool", features))
    layers = find_layers(draft.finish(scores), scores)
    assert [layer.value.name for layer in layers] == ["maps", "features"]
    assert last_layer(layers).value is features


def test_what_only_the_class_token_is_read_of_is_no_layer() -> None:
    draft = Draft()
    tokens = draft.normalise(draft.with_class_token(), "before")
    scores = draft.op("MatMul", tokens, draft.transpose(tokens, 0, 2, 1))  # an attention of a kind
    mixed = draft.op("Add", tokens, draft.op("MatMul", scores, tokens), name="mixed")
    after = draft.normalise(mixed, "after")
    first = draft.op("Gather", after, draft.builder.constant(np.array(0, np.int64)), axis=1)
    layers = find_layers(draft.finish(first), first)
    names = [layer.value.name for layer in layers]
    assert "before" in names
    assert not {"mixed", "after"} & set(names)
    assert last_layer(layers).value is tokens


def test_without_a_place_in_the_image_there_is_no_last_layer() -> None:
    draft = Draft()
    scores = draft.op("Flatten", draft.images)
    with pytest.raises(ModelError, match="no layer of the graph has a place in the image"):
        last_layer(find_layers(draft.finish(scores), scores))


def test_a_layer_of_unknown_axes_has_to_have_four() -> None:
    with pytest.raises(OptionError, match=r"expected a layer of shape \(N, C, h, w\), and 'row' has"):
        channels_first(ir.val("row", ir.DataType.FLOAT, ["N", 3, 24]))
