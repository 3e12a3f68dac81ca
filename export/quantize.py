"""A graph in int8: explicit QuantizeLinear and DequantizeLinear around its convolutions.

Convolutions multiply 8-bit integers; everything else stays float32. ONNX Runtime's quantizer does the work:
activations get a scale and a zero point from the range that calibration images show, weights a scale for each
output channel. The backward convolutions of Grad-CAM are quantized too: what rounding does to a gradient
averages out in alpha, its mean over space (measured on the demo: mask IoU 0.73 with and without).

In float32 stay the stem (few channels, a small part of the time), transposed convolutions (engines have no
fast int8 kernel for them) and the heads. Activations are unsigned and have a zero point, as CPUs with VNNI or
AMX want it; TensorRT does not take these graphs, float16 is meant for it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxscript.optimizer import fold_constants

from biounet_edge.errors import ExportError
from export.batch_norm import absorb_batch_norm
from export.trace import finish

FEWEST_CALIBRATION_IMAGES = 8
"""Fewer do not show the range of activations."""

MOST_CALIBRATION_IMAGES = 32
"""More change little and take as much longer."""


def to_int8(model: ir.Model, examples: NDArray[np.float32]) -> ir.Model:
    """Copy a float32 component with its convolutions in int8; its inputs and outputs stay float32.

    Args:
        model: An encoder with its Grad-CAM, or a decoder; it stays as it is.
        examples: What its one input sees, shape (G, C, h, w), G calibration examples.

    Returns:
        The copy.

    Raises:
        ExportError: If there are too few examples.
    """
    if len(examples) < FEWEST_CALIBRATION_IMAGES:
        raise ExportError(
            f"expected at least {FEWEST_CALIBRATION_IMAGES} images to calibrate int8 with, "
            f"got {len(examples)}: name more with --calibration-images"
        )
    model = ir.external_data.load_to_model(model.clone())
    # The first of them is the stem; a backward convolution is one whose weight is computed.
    forward = absorb_batch_norm(model.graph)[1:]
    backward = [
        node for node in model.graph if node.op_type == "Conv" and node not in forward and _computed(node)
    ]
    chosen = forward + [node for node in backward if node.name and not _is_stem(node)]
    _compute_weights(model, chosen)
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        model.metadata_props["onnx.quant.pre_process"] = "onnxruntime.quant"  # batch norm is absorbed above
        ir.save(model, source)
        quantize_static(
            source,
            target,
            _Examples(str(model.graph.inputs[0].name), examples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[str(node.name) for node in chosen],
            calibrate_method=CalibrationMethod.MinMax,
            # Biases stay float32: engines add them to the 32-bit sums.
            extra_options={"QuantizeBias": False},
        )
        quantized = ir.external_data.load_to_model(ir.load(target))
    quantized.metadata_props.clear()
    return finish(quantized)


def _is_stem(node: ir.Node) -> bool:
    """The stem reads the graph's own input."""
    return node.inputs[0] is not None and node.inputs[0].is_graph_input()


def _computed(node: ir.Node) -> bool:
    return node.inputs[1] is not None and node.inputs[1].producer() is not None


def _compute_weights(model: ir.Model, convolutions: Sequence[ir.Node]) -> None:
    """Turn the expressions for the weights of these convolutions into constants, which can be quantized.

    All other expressions, such as the weights of transposed convolutions, stay and cost no space.
    """
    needed: set[ir.Node] = set()
    waiting = [value for node in convolutions for value in node.inputs[1:]]
    while waiting:
        value = waiting.pop()
        producer = None if value is None else value.producer()
        if producer is not None and producer not in needed:
            needed.add(producer)
            waiting += producer.inputs
    limit = 2**30
    fold_constants(
        model,
        input_size_limit=limit,
        output_size_limit=limit,
        should_fold=lambda node: node in needed,
    )
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveUnusedNodesPass()(model)


class _Examples(CalibrationDataReader):  # type: ignore[misc]
    """Hands the examples to the calibrator one by one."""

    def __init__(self, name: str, examples: NDArray[np.float32]) -> None:
        self._name = name
        self._rest: Iterator[NDArray[np.float32]] = iter(examples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next example, shape (1, C, h, w), or None at the end."""
        example = next(self._rest, None)
        return None if example is None else {self._name: example[None]}
