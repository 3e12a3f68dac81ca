"""What a graph needs before rules can be applied: no functions, a current operator set, shapes."""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from onnx_gradcam.errors import DependencyError, ModelError

OLDEST_OPSET = 18
"""Older graphs are converted to this operator set: rules append its nodes."""


def prepare(model: ir.Model) -> None:
    """Inline functions, convert an old operator set and infer shapes, in place.

    Raises:
        DependencyError: If the operator set is old and onnxscript is not installed.
        ModelError: If the operator set cannot be converted.
    """
    if model.functions:
        InlinePass()(model)
    version = model.graph.opset_imports.get("")
    if version is not None and version < OLDEST_OPSET:
        _convert(model, version)
    ShapeInferencePass()(model)


def _convert(model: ir.Model, version: int) -> None:
    try:
        from onnxscript.version_converter import convert_version
    except ImportError as error:
        raise DependencyError(
            f"the graph is of operator set {version}, and onnxscript, which converts it to {OLDEST_OPSET}, "
            "is not installed: pip install onnxscript, or export the model again with a newer operator set"
        ) from error
    refused = f"the graph is of operator set {version}, which cannot be converted to {OLDEST_OPSET}"
    remedy = "export the model again with a newer operator set"
    try:
        convert_version(model, OLDEST_OPSET, fallback=True)
    except Exception as error:  # the converters' errors share no base class
        raise ModelError(f"{refused} ({error}): {remedy}") from error
    if model.graph.opset_imports.get("") != OLDEST_OPSET:
        raise ModelError(f"{refused}: {remedy}")
