"""An explained graph in the runtimes that it is made for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from biounet_edge.backends.telemetry import import_onnxruntime, import_openvino
from biounet_edge.backends.tensor_rt.compilation import Compilation
from biounet_edge.backends.tensor_rt.library import import_tensorrt
from biounet_edge.backends.tensor_rt.progress import ProgressListener
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile
from onnx_gradcam.model_file import save_model

Arrays = dict[str, NDArray[Any]]
"""Arrays by the names of inputs or outputs."""

Run = Callable[[Arrays], Arrays]
"""A loaded graph."""

ARCHITECTURE = (8, 9)
"""Compute capability that graphs are compiled for, ahead of time: NVIDIA Ada."""


def load_onnxruntime(path: Path) -> Run:
    """Load a graph with ONNX Runtime on the CPU.

    Args:
        path: The ONNX file.

    Returns:
        The loaded graph.
    """
    session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def load_openvino(path: Path) -> Run:
    """Load a graph with OpenVINO on the CPU, in float32.

    Args:
        path: The ONNX file.

    Returns:
        The loaded graph.
    """
    library = import_openvino()
    core = library.Core()
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Arrays) -> Arrays:
        results = model(inputs)
        return {output.get_any_name(): np.array(results[output]) for output in model.outputs}

    return run


def compile_with_tensorrt_rtx(path: Path, batches: BatchProfile) -> int:
    """Compile a graph with TensorRT for RTX, ahead of time and without a GPU.

    Args:
        path: The ONNX file.
        batches: Batch sizes.

    Returns:
        Size of the engine in bytes.

    Raises:
        BackendUnavailableError: If it cannot be compiled.
    """
    library = import_tensorrt("tensorrt-rtx")
    capability = getattr(library.ComputeCapability, f"SM{ARCHITECTURE[0]}{ARCHITECTURE[1]}")
    engine = Compilation(library, path).run(batches, [capability], ProgressListener(path.name, None), None)
    return len(engine)


def save(model: ir.Model, path: Path) -> Path:
    """Write a graph, with its weights beside it where one file cannot hold them.

    Args:
        model: The graph.
        path: The file.

    Returns:
        The same path.
    """
    save_model(model, path, overwrite=True)
    return path
