"""ONNX Runtime, on the CPU or on an NVIDIA GPU."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle import Bundle
from biounet_edge.errors import BackendUnavailableError, ManifestError
from biounet_edge.manifest import Level

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_EXTRAS = {"cpu": "cpu", "cuda": "gpu"}


class OnnxRuntimeBackend:
    """A level's graph in an ONNX Runtime session."""

    def __init__(self, bundle: Bundle, level: Level, device: Literal["cpu", "cuda"]) -> None:
        """Loads the graph.

        Args:
            bundle: The opened bundle.
            level: How much is computed.
            device: Where.

        Raises:
            BackendUnavailableError: If onnxruntime or its execution provider for the device is missing.
            ManifestError: If the graph's input or outputs are not those of the manifest.
        """
        graph = bundle.graph(level)
        remedy = f'pip install "biounet-edge[{_EXTRAS[device]}]"'
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailableError(f"onnxruntime is not installed: {remedy}") from error
        provider = _PROVIDERS[device]
        available = onnxruntime.get_available_providers()
        if provider not in available:
            raise BackendUnavailableError(
                f"device {device!r} needs the {provider}, and this onnxruntime has {', '.join(available)}: "
                f"{remedy} (onnxruntime and onnxruntime-gpu exclude each other: uninstall one first)"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures come back as exceptions
        try:
            if device == "cuda":
                onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=[provider], enable_fallback=False
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BackendUnavailableError(
                f"onnxruntime {onnxruntime.__version__} cannot load {graph} on {device!r}: {error}"
            ) from error
        if self._session.get_providers()[0] != provider:
            raise BackendUnavailableError(
                f"device {device!r} was asked for, and onnxruntime chose {self._session.get_providers()[0]}: "
                "install a driver, CUDA and cuDNN that fit this onnxruntime, or choose another device"
            )
        self._description = f"onnxruntime {onnxruntime.__version__}, {provider}"
        self._input, self._outputs = _check_signature(self._session, bundle, level)

    @property
    def description(self) -> str:
        """Library, version and execution provider."""
        return self._description

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Computes every output of the graph.

        Args:
            images: RGB pixels at the input size, shape (N, H, W, 3), uint8.

        Returns:
            Output name to array with first axis N, float32.
        """
        arrays = self._session.run(self._outputs, {self._input: np.ascontiguousarray(images)})
        return dict(zip(self._outputs, arrays, strict=True))

    def close(self) -> None:
        """Releases the session."""
        del self._session


def _check_signature(session: Any, bundle: Bundle, level: Level) -> tuple[str, list[str]]:
    """Compares a loaded graph with its manifest, so that a wrong pair fails here and not in the results."""
    spec, graph = bundle.manifest.input, bundle.manifest.levels[level].graph
    inputs = [(node.name, node.type, node.shape[1:]) for node in session.get_inputs()]
    expected = [(spec.name, "tensor(uint8)", [spec.height, spec.width, 3])]
    if inputs != expected:
        raise ManifestError(f"{graph} has the inputs {inputs}, and the manifest says {expected}")
    outputs = [node.name for node in session.get_outputs()]
    promised = bundle.manifest.levels[level].outputs
    if set(outputs) != set(promised):
        raise ManifestError(f"{graph} has the outputs {outputs}, and the manifest says {promised}")
    return spec.name, outputs
