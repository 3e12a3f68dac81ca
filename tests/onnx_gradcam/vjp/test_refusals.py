"""What has no rule, and what a rule does not cover."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import strategies as st

from onnx_gradcam.backward import backpropagate
from onnx_gradcam.builder import GraphBuilder
from onnx_gradcam.errors import UnsupportedOperatorError
from onnx_gradcam.vjp import rule_of
from tests.onnx_gradcam.vjp.case import Array, Case, Sample, int64
from tests.onnx_gradcam.vjp.graph import backward


def differentiate(
    operator: str,
    *inputs: Array | None,
    by: Collection[int] = (0,),
    free: Collection[int] = (),
    **attributes: Any,
) -> ir.Model:
    sample = Sample(inputs, attributes, by=tuple(by), free=free)
    return backward(Case(operator, torch.clone, st.just(sample)), sample, np.float32, free=True)


IMAGE = np.zeros((1, 2, 8, 8))
SAME = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}


def test_operator_without_rule_is_named_with_its_node_and_the_rules_there_are() -> None:
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"'the_node' of operator Sin, which has no rule.*Abs, Add, AveragePool",
    ):
        differentiate("Sin", np.zeros((2, 3)))


def test_operator_of_another_domain_has_no_rule() -> None:
    node = ir.Node("com.microsoft", "Relu", [ir.val("x")], name="fused")
    with pytest.raises(UnsupportedOperatorError, match=r"'fused' of operator com\.microsoft\.Relu"):
        rule_of(node)


def test_batch_normalization_in_training_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="training mode: export in evaluation mode"):
        differentiate("BatchNormalization", IMAGE, *[np.ones(2)] * 4, training_mode=1)


def test_dropout_that_drops_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"'the_node' \(Dropout\) may drop"):
        differentiate("Dropout", IMAGE, np.array(0.5), np.array(True))


def test_product_of_a_vector_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="multiplies a vector"):
        differentiate("MatMul", np.zeros((2, 3)), np.zeros(3))


@pytest.mark.parametrize("equation", ["ij", "...i->...i", "ii->i"])
def test_an_equation_without_a_rule_is_refused(equation: str) -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=r"\(Einsum\) computes '.*': there is a rule for equations with '->'"
    ):
        differentiate("Einsum", np.zeros((2, 2)), equation=equation)


@pytest.mark.parametrize(
    ("operator", "inputs", "by", "attributes"),
    [
        ("Pow", [np.ones(3), np.ones(3)], 1, {}),
        ("Einsum", [np.ones((2, 3, 4)), np.ones((4, 5))], 0, {"equation": "bij,jk->ik"}),
        ("Conv", [IMAGE, np.ones((3, 2, 1, 1))], 1, {}),
        ("LayerNormalization", [IMAGE, np.ones(8)], 1, {}),
        ("Clip", [IMAGE, np.array(0.5)], 1, {}),
    ],
)
def test_an_input_that_a_rule_does_not_cover_is_refused(
    operator: str, inputs: list[Array], by: int, attributes: dict[str, Any]
) -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=rf"through input {by} of node 'the_node' \({operator}\)"
    ):
        differentiate(operator, *inputs, by=(by,), **attributes)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Conv", SAME),
        ("MaxPool", SAME),
        ("AveragePool", SAME),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ],
)
def test_padding_that_depends_on_an_unknown_size_is_refused(
    operator: str, attributes: dict[str, Any]
) -> None:
    inputs = [IMAGE, np.ones((3, 2, 3, 3))] if operator == "Conv" else [IMAGE]
    with pytest.raises(
        UnsupportedOperatorError, match="size is not fixed: expected a graph with a fixed height and width"
    ):
        differentiate(operator, *inputs, free=(2, 3), **attributes)


@pytest.mark.parametrize(
    ("operator", "inputs", "free", "attributes"),
    [
        ("ConvTranspose", [IMAGE, np.ones((2, 3, 3, 3))], 2, SAME),
        ("Concat", [IMAGE, IMAGE], 2, {"axis": 2}),
        ("Slice", [IMAGE, int64(1), int64(3), int64(2)], 2, {}),
        ("Pad", [IMAGE, int64(1, 1), None, int64(2)], 2, {"mode": "reflect"}),
        ("DepthToSpace", [np.zeros((1, 4, 2, 2))], 2, {"blocksize": 2, "mode": "CRD"}),
        ("Resize", [IMAGE, None, np.array([1, 1, 2, 2], np.float32)], 2, {"mode": "linear"}),
        ("LRN", [IMAGE], 1, {"size": 3}),
    ],
)
def test_an_unknown_size_that_a_rule_needs_is_named(
    operator: str, inputs: list[Array | None], free: int, attributes: dict[str, Any]
) -> None:
    by = range(len(inputs)) if operator == "Concat" else (0,)
    with pytest.raises(
        UnsupportedOperatorError, match=rf"axis {free} of '.*' is not fixed, and the rule of node 'the_node'"
    ):
        differentiate(operator, *inputs, by=by, free=(free,), **attributes)


def test_places_that_differ_between_images_are_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"\(GatherND\) has batch_dims"):
        differentiate("GatherND", np.zeros((2, 3)), int64(0, 1).reshape(2, 1), batch_dims=1)


def test_cropping_while_resizing_is_refused() -> None:
    roi, scales = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32), np.array([1, 1, 2, 2], np.float32)
    with pytest.raises(
        UnsupportedOperatorError, match=r"\(Resize\) crops: there is a rule for resizing only"
    ):
        differentiate("Resize", IMAGE, roi, scales, coordinate_transformation_mode="tf_crop_and_resize")


def test_smoothing_between_the_corners_of_a_part_of_a_pixel_is_refused() -> None:
    attributes = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "align_corners"}
    with pytest.raises(
        UnsupportedOperatorError, match=r"\(Resize\) smooths to a length of 4.8: expected whole pixels"
    ):
        differentiate("Resize", IMAGE, None, np.array([1, 1, 0.5, 0.6], np.float32), **attributes)


def test_resizing_that_keeps_the_aspect_ratio_is_refused() -> None:
    policy = {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]}
    with pytest.raises(UnsupportedOperatorError, match=r"\(Resize\) keeps the aspect ratio"):
        differentiate("Resize", IMAGE, None, None, int64(4, 6), **policy)


def test_a_selection_from_a_very_long_axis_is_refused() -> None:
    bounds = (int64(0), int64(5000), int64(0), int64(2))
    with pytest.raises(
        UnsupportedOperatorError, match=r"takes 2,500 of 5,000 places: the rule writes a matrix of at most"
    ):
        differentiate("Slice", np.zeros(5000), *bounds)


@pytest.mark.parametrize(("operator", "what"), [("ReduceSum", "axes"), ("Pad", "pads"), ("Slice", "starts")])
def test_integers_that_are_computed_are_refused(operator: str, what: str) -> None:
    x, numbers = ir.val("x", ir.DataType.FLOAT, [3]), ir.val("numbers", ir.DataType.INT64, [1])
    builder = GraphBuilder(ir.Graph([x, numbers], [], nodes=[], opset_imports={"": 20}))
    y = builder.op(operator, [x, *[numbers] * (2 if operator == "Slice" else 1)], name="computed")
    y.shape = ir.Shape([3])
    with pytest.raises(
        UnsupportedOperatorError, match=rf"the {what} of node 'computed' \({operator}\) are computed"
    ):
        backpropagate(builder, y, y, [x])
