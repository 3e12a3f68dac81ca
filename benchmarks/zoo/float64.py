"""ONNX graphs in float64, which no fast runtime computes convolutions in.

ONNX's own reference evaluator does, one NumPy operator after another. Operators that are slow there are
PyTorch's here.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional


def to_float32(model: ir.Model) -> ir.Model:
    """Copy a float64 graph with every number in it rounded to float32.

    Args:
        model: The graph.

    Returns:
        The copy.
    """
    copy = model.clone()
    for value in ir.convenience.create_value_mapping(copy.graph).values():
        if value.dtype == ir.DataType.DOUBLE:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for initializer in copy.graph.initializers.values():
        tensor = initializer.const_value
        if tensor is not None and tensor.dtype == ir.DataType.DOUBLE:
            initializer.const_value = ir.tensor(tensor.numpy().astype(np.float32), name=initializer.name)
    for node in copy.graph:
        for name, attribute in list(node.attributes.items()):
            if name == "to" and attribute.as_int() == ir.DataType.DOUBLE:
                node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
            if (
                attribute.type == ir.AttributeType.TENSOR
                and attribute.as_tensor().dtype == ir.DataType.DOUBLE
            ):
                tensor = ir.tensor(attribute.as_tensor().numpy().astype(np.float32))
                node.attributes[name] = ir.AttrTensor(name, tensor)
    return copy


def run_float64(model: ir.Model, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a float64 graph.

    Args:
        model: The graph.
        inputs: Arrays by the names of its inputs.

    Returns:
        Arrays by the names of its outputs.
    """
    evaluator = ReferenceEvaluator(
        ir.to_proto(model), new_ops=[Conv, ConvTranspose, MaxPool, Sigmoid, Erf, Gelu]
    )
    names = [str(value.name) for value in model.graph.outputs]
    return dict(zip(names, evaluator.run(names, inputs), strict=True))


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor on the array's memory, or on a copy where that may not be written to."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


class Conv(OpRun):
    """Two-dimensional convolution by PyTorch."""

    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None,
             strides=None):  # type: ignore[no-untyped-def] # fmt: skip
        top, left, bottom, right = pads or (0, 0, 0, 0)
        padded = functional.pad(_tensor(x), (left, right, top, bottom))
        bias = None if b is None else _tensor(b)
        weight = _tensor(w)
        y = functional.conv2d(padded, weight, bias, strides or 1, 0, dilations or 1, group or 1)
        return (y.numpy(),)


class ConvTranspose(OpRun):
    """Two-dimensional transposed convolution by PyTorch."""

    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None,
             output_padding=None, output_shape=None, pads=None, strides=None):  # type: ignore[no-untyped-def] # fmt: skip
        y = functional.conv_transpose2d(
            _tensor(x),
            _tensor(w),
            None if b is None else _tensor(b),
            strides or 1,
            0,
            output_padding or 0,
            group or 1,
            dilations or 1,
        ).numpy()
        top, left, bottom, right = pads or (0, 0, 0, 0)
        return (y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right],)


class MaxPool(OpRun):
    """Two-dimensional max pooling by PyTorch."""

    op_domain = ""

    def _run(self, x, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None,
             storage_order=None, strides=None):  # type: ignore[no-untyped-def] # fmt: skip
        padding = tuple(pads[:2]) if pads else 0
        y = functional.max_pool2d(_tensor(x), kernel_shape, strides, padding, dilations or 1, bool(ceil_mode))
        return (y.numpy(),)


class Sigmoid(OpRun):
    """The logistic function by PyTorch."""

    op_domain = ""

    def _run(self, x):  # type: ignore[no-untyped-def]
        return (torch.sigmoid(_tensor(x)).numpy(),)


class Erf(OpRun):
    """The error function by PyTorch."""

    op_domain = ""

    def _run(self, x):  # type: ignore[no-untyped-def]
        return (torch.erf(_tensor(x)).numpy(),)


class Gelu(OpRun):
    """x Phi(x) by PyTorch."""

    op_domain = ""

    def _run(self, x, approximate=None):  # type: ignore[no-untyped-def]
        return (functional.gelu(_tensor(x), approximate=approximate or "none").numpy(),)
