"""TensorRT and TensorRT for RTX: two libraries with one Python interface."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from biounet_edge.backends.requirements import import_for, install_command
from biounet_edge.errors import BackendUnavailableError, InputError

_MODULES: Mapping[str, tuple[str, tuple[int, int]]] = {
    "tensorrt": ("tensorrt", (10, 12)),
    "tensorrt-rtx": ("tensorrt_rtx", (1, 7)),
}
# Module of each device, and the oldest version that has what is called here.


def import_tensorrt(device: str) -> Any:
    """Import the library of a device.

    Args:
        device: "tensorrt" or "tensorrt-rtx".

    Returns:
        The module.

    Raises:
        InputError: If the device has no engines.
        BackendUnavailableError: If the library is not installed, or too old.
    """
    if device not in _MODULES:
        raise InputError(f"engines are there for {' and '.join(_MODULES)}, and not for device {device!r}")
    module, oldest = _MODULES[device]
    library = import_for(device, module, lambda: import_module(module))
    if tuple(int(part) for part in library.__version__.split(".")[:2]) < oldest:
        raise BackendUnavailableError(
            f"device {device!r} needs {module} {oldest[0]}.{oldest[1]} or newer, and {library.__version__} "
            f"is installed: {install_command(device)} --upgrade"
        )
    return library


def make_log(library: Any) -> Any:
    """Make a logger that keeps what went wrong instead of printing it.

    Args:
        library: From `import_tensorrt`.

    Returns:
        An ILogger with `problems`, the texts of its errors; it must outlive what was made with it.
    """

    class Log(library.ILogger):  # type: ignore[misc]  # the base is not known before the library is
        def __init__(self) -> None:
            super().__init__()
            self.problems: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.INTERNAL_ERROR, library.ILogger.Severity.ERROR):
                self.problems.append(message.strip())

    return Log()


def reason(log: Any) -> str:
    """Sum up a log for an error message.

    Args:
        log: From `make_log`.

    Returns:
        Its errors, the first of which names the cause.
    """
    return "; ".join(dict.fromkeys(log.problems)) or "it gave no reason"
