"""The NVIDIA GPU of this machine, through the CUDA runtime."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from biounet_edge.backends.requirements import import_for
from biounet_edge.errors import BackendUnavailableError


@dataclass(frozen=True, slots=True)
class Gpu:
    """What decides whether a compiled engine runs here."""

    name: str
    """Product name, such as "NVIDIA L4"."""
    compute_capability: str
    """Architecture, such as "8.9"."""
    cuda: str
    """Newest CUDA version that the installed driver runs, such as "13.0"."""


def present_gpu(device: str) -> Gpu:
    """Look at the first GPU that CUDA shows.

    Args:
        device: What the GPU is needed for, "tensorrt" or "tensorrt-rtx".

    Returns:
        Its name, architecture and driver.

    Raises:
        BackendUnavailableError: If cuda-bindings is not installed, or there is no GPU or no driver that fits.
    """
    cuda = cuda_runtime(device)
    driver, runtime = cuda_call(cuda.cudaDriverGetVersion), cuda_call(cuda.cudaRuntimeGetVersion)
    if driver == 0:
        raise BackendUnavailableError(
            f"device {device!r} needs an NVIDIA GPU and its driver, and this machine has no driver: install "
            "it or choose another device"
        )
    if driver // 1000 < runtime // 1000:  # within a major version an older driver will do
        raise BackendUnavailableError(
            f"device {device!r} cannot use the GPU: the driver runs CUDA {_version(driver)} and "
            f"cuda-bindings is made for CUDA {_version(runtime)}: install a newer driver, or "
            f'"cuda-bindings<{runtime // 1000}" and a TensorRT for that CUDA'
        )
    try:
        properties = cuda_call(cuda.cudaGetDeviceProperties, 0)
    except BackendUnavailableError as error:
        raise BackendUnavailableError(
            f"device {device!r} needs an NVIDIA GPU, and CUDA shows none ({error}): choose another device"
        ) from error
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(name.strip("\0"), f"{properties.major}.{properties.minor}", _version(driver))


def cuda_runtime(device: str) -> ModuleType:
    """Import the CUDA runtime's functions.

    Args:
        device: What they are needed for.

    Returns:
        The module `cuda.bindings.runtime`.

    Raises:
        BackendUnavailableError: If it is not installed.
    """
    return import_for(device, "cuda-bindings", lambda: import_module("cuda.bindings.runtime"))


def cuda_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the CUDA runtime, which returns an error code and its results.

    Args:
        function: From `cuda_runtime`.
        *arguments: Its arguments.

    Returns:
        Its result; a tuple of several, None of none.

    Raises:
        BackendUnavailableError: If the code is not cudaSuccess.
    """
    return cuda_result(function.__name__, function(*arguments))


def cuda_result(name: str, returned: tuple[Any, ...]) -> Any:
    """Check what a function of the CUDA runtime returned.

    Args:
        name: Of the function.
        returned: An error code and its results.

    Returns:
        Its result; a tuple of several, None of none.

    Raises:
        BackendUnavailableError: If the code is not cudaSuccess.
    """
    code, *results = returned
    if code:
        hint = ""
        if code.name == "cudaErrorMemoryAllocation":
            hint = ": the memory is full, use a smaller batch or end what else uses it"
        raise BackendUnavailableError(f"{name} failed on the GPU with {code.name}{hint}")
    return results[0] if len(results) == 1 else tuple(results) or None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"  # CUDA writes 13.2 as 13020
