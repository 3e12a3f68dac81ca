"""Old operator sets, with the package that converts them and without it."""

import sys

import onnx.parser
import onnx_ir as ir
import pytest

from onnx_gradcam.errors import DependencyError, ModelError
from onnx_gradcam.preparation import OLDEST_OPSET, prepare


def model(opset: int) -> ir.Model:
    return ir.from_proto(
        onnx.parser.parse_model(f"""<ir_version: 7, opset_import: ["": {opset}]>
            net (float[N, 3, 8, 8] x) => (float[N, 3, 1, 1] y)
            {{ a = Relu (x)  y = GlobalAveragePool (a) }}""")
    )


def test_an_old_operator_set_is_converted() -> None:
    old = model(13)
    prepare(old)
    assert old.graph.opset_imports[""] == OLDEST_OPSET


def test_a_current_operator_set_needs_no_onnxscript(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript.version_converter", None)
    current = model(OLDEST_OPSET)
    prepare(current)
    assert [str(value.shape) for value in current.graph.outputs] == ["[N,3,1,1]"]


def test_without_onnxscript_an_old_operator_set_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript.version_converter", None)
    with pytest.raises(DependencyError, match=r"operator set 13, and onnxscript.*pip install onnxscript"):
        prepare(model(13))


def test_a_failing_conversion_names_both_operator_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no adapter")

    monkeypatch.setattr("onnxscript.version_converter.convert_version", fail)
    with pytest.raises(
        ModelError, match=r"13, which cannot be converted to 18 \(no adapter\): export the model"
    ):
        prepare(model(13))
