"""Reading and writing ONNX files, with the weights beside them where they are large."""

import tempfile
from pathlib import Path

import onnx_ir as ir

from biounet_edge.errors import ExportError, InputError

LARGEST_FILE_BYTES = 1_500_000_000
"""Weights of more bytes are kept in a file beside the graph: a protobuf file ends at 2 GB."""


def load_model(path: Path) -> ir.Model:
    """Reads an ONNX file.

    Args:
        path: The file; weights beside it are found.

    Returns:
        The model.

    Raises:
        InputError: If it is not there.
        ExportError: If it is no ONNX graph.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: expected an ONNX graph")
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's and onnx_ir's own share no base class
        raise ExportError(f"{path} is no ONNX graph ({error}): expected the file of a classifier") from error
    if not model.graph.outputs:
        raise ExportError(f"{path} is no ONNX graph with outputs: expected the file of a classifier")
    return model


def save_model(model: ir.Model, path: Path, *, overwrite: bool = False) -> None:
    """Writes an ONNX file, whole or not at all.

    Args:
        model: The model.
        path: The file; weights of more than LARGEST_FILE_BYTES are written beside it, with .data at its end.
        overwrite: Whether a file that is there is replaced.

    Raises:
        ExportError: If there is a file already, or it cannot be written.
    """
    weights = path.with_name(f"{path.name}.data")
    if not overwrite and (path.exists() or weights.exists()):
        raise ExportError(f"{path} is there already: choose another name, or replace it with --overwrite")
    tensors = (value.const_value for value in model.graph.initializers.values())
    large = sum(tensor.nbytes for tensor in tensors if tensor is not None) > LARGEST_FILE_BYTES
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
            temporary = Path(folder) / path.name
            ir.save(model, temporary, external_data=weights.name if large else None)
            if large:
                (Path(folder) / weights.name).replace(weights)
            temporary.replace(path)
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror or error}): choose another folder"
        ) from error
