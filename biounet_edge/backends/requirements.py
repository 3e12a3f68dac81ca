"""What a device needs: a library, the extra that installs it, and a precision that it computes in."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from biounet_edge.backends import PRECISIONS
from biounet_edge.bundle.manifest import GraphPrecision, Precision
from biounet_edge.errors import BackendUnavailableError, InputError

_EXTRAS: Mapping[str, str] = {
    "cpu": "cpu",
    "cuda": "gpu",
    "openvino": "openvino",
    "openvino-gpu": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt-rtx",
}

_Library = TypeVar("_Library")


def install_command(device: str) -> str:
    """Return the command that installs what a device needs.

    Args:
        device: One of `biounet_edge.backends.DEVICES` but "auto".

    Returns:
        A command line.
    """
    return f'pip install "biounet-edge[{_EXTRAS[device]}]"'


def import_for(device: str, name: str, load: Callable[[], _Library]) -> _Library:
    """Import a library, or say what to install.

    Args:
        device: What it is needed for.
        name: Name of the library.
        load: Imports it.

    Returns:
        What `load` returns.

    Raises:
        BackendUnavailableError: If it is not installed or cannot be loaded.
    """
    try:
        return load()
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"device {device!r} needs {name}, which cannot be imported ({error}): {install_command(device)}"
        ) from error


def graph_precision(precision: Precision) -> GraphPrecision:
    """Return the precision of the exported graph that a precision is computed from.

    Args:
        precision: What a backend computes in.

    Returns:
        The graph's own precision.
    """
    return "float32" if precision == "bfloat16" else precision


def require_precision(device: str, precision: Precision) -> GraphPrecision:
    """Check that a device computes in a precision.

    Args:
        device: A device of `PRECISIONS`.
        precision: What was asked for.

    Returns:
        The precision of the graph that it is computed from.

    Raises:
        InputError: If the device does not compute in it.
    """
    if precision not in PRECISIONS[device]:
        *most, last = PRECISIONS[device]
        raise InputError(
            f"device {device!r} computes in {', '.join(most)} and {last}, and not in {precision}"
        )
    return graph_precision(precision)
