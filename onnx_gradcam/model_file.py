"""Reading and writing ONNX files, with the weights beside them where they are large."""

from pathlib import Path

import onnx_ir as ir

from onnx_gradcam.errors import ModelError, ModelNotFoundError
from onnx_gradcam.storage import new_files

LARGEST_FILE_BYTES = 1_500_000_000
"""Larger weights go to a file beside the graph: a protobuf file ends at 2 GB."""


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file, and the weights beside it.

    Raises:
        ModelNotFoundError: If there is no such file.
        ModelError: If it is not an ONNX graph, or its weights are missing.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"there is no file {path}: expected an ONNX graph")
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's and onnx_ir's own share no base class
        raise ModelError(f"{path} is no ONNX graph ({error}): expected the file of a classifier") from error
    if not model.graph.outputs:
        raise ModelError(f"{path} is no ONNX graph with outputs: expected the file of a classifier")
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and not Path(tensor.path).is_file():
            raise ModelError(
                f"{path} has weights in {tensor.path}, which is missing: expected it beside the graph"
            )
    return model


def save_model(model: ir.Model, path: Path, *, overwrite: bool = False) -> None:
    """Write an ONNX file, whole or not at all.

    Args:
        model: The model.
        path: The file, which holds all weights; those of more than LARGEST_FILE_BYTES go to a file beside it,
            of its name plus `.data`.
        overwrite: Whether a file that is already there is replaced.

    Raises:
        OutputError: If a file is already there and must stay, or cannot be written.
    """
    weights = path.with_name(f"{path.name}.data")
    tensors = (value.const_value for value in model.graph.initializers.values())
    large = sum(tensor.nbytes for tensor in tensors if tensor is not None) > LARGEST_FILE_BYTES
    with new_files(path, [weights], overwrite=overwrite) as folder:
        if not large:  # references to files beside another graph would lead nowhere
            ir.external_data.load_to_model(model)
        ir.save(model, folder / path.name, external_data=weights.name if large else None)
