"""ONNX Runtime, on the CPU or on an NVIDIA GPU.

Its TensorRT provider is left out: `tensor_rt` runs TensorRT itself, with engines that are built once and
checked. And onnxruntime-gpu 1.31 links that provider against TensorRT 10; the `tensorrt` extra brings 11.
"""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.base import BaseBackend, Outputs
from biounet_edge.backends.processor import usable_threads
from biounet_edge.backends.requirements import import_for, install_command, require_precision
from biounet_edge.backends.telemetry import import_onnxruntime
from biounet_edge.bundle.graph_inspection import checked_graph
from biounet_edge.bundle.manifest import Level
from biounet_edge.bundle.signature import check_signature
from biounet_edge.errors import BackendUnavailableError, InputError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FITTING = {
    "cpu": f"install onnxruntime anew ({install_command('cpu')})",
    "cuda": f"install an NVIDIA driver, CUDA and cuDNN that fit it ({install_command('cuda')}; biounet-edge "
    "doctor says what is missing)",
}


class OnnxRuntimeBackend(BaseBackend):
    """A level's graph in an ONNX Runtime session."""

    library_name = "ONNX Runtime"

    def _load(self, level: Level) -> str:
        device, bundle = self.device, self._bundle
        if device not in _PROVIDERS:
            raise InputError(f"onnxruntime runs on {' and '.join(_PROVIDERS)}, and not on device {device!r}")
        graph = checked_graph(bundle, level, require_precision(device, self.precision))
        library = _import_onnxruntime(device)
        self._session = _make_session(library, graph, device)
        inputs = [
            (node.name, node.type.removeprefix("tensor(").removesuffix(")"), tuple(node.shape[1:]))
            for node in self._session.get_inputs()
        ]
        found = [node.name for node in self._session.get_outputs()]
        self._outputs = check_signature(bundle, level, graph.name, inputs, found)
        self._cuda = None
        if device == "cuda":
            from biounet_edge.backends.onnx_runtime_cuda import CudaRunner

            self._cuda = CudaRunner(self._session, bundle.manifest.input.name, self._outputs)
        return f"onnxruntime {library.__version__}, {_PROVIDERS[device]}"

    def _compute(self, images: NDArray[np.uint8]) -> Outputs:
        try:
            if self._cuda is not None:
                return self._cuda.run(images)
            arrays = self._session.run(self._outputs, {self._bundle.manifest.input.name: images})
            return dict(zip(self._outputs, arrays, strict=True))
        except BackendUnavailableError:
            raise
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BackendUnavailableError(
                f"{self.description} failed on a batch of {len(images)}: {error}. Where memory is short, a "
                "smaller batch helps"
            ) from error

    def _release(self) -> None:
        if self._cuda is not None:
            self._cuda.close()
        self._session = self._cuda = None


def _import_onnxruntime(device: str) -> Any:
    onnxruntime = import_for(device, "onnxruntime", import_onnxruntime)
    available = onnxruntime.get_available_providers()
    if _PROVIDERS[device] not in available:
        raise BackendUnavailableError(
            f"device {device!r} needs the {_PROVIDERS[device]}, and this onnxruntime has "
            f"{', '.join(available)}: {install_command(device)} (onnxruntime and onnxruntime-gpu exclude "
            "each other: uninstall one first)"
        )
    return onnxruntime


def _make_session(library: Any, graph: Path, device: str) -> Any:
    """Make the session and make sure that it runs where it was asked to."""
    provider = _PROVIDERS[device]
    options = library.SessionOptions()
    options.log_severity_level = 4  # failures come back as exceptions
    # Threads that wait by spinning take the cores from those that decode the next photographs. With the demo
    # at level full on two busy cores, `Predictor.stream` took 84 ms per photograph without spinning and 156
    # with it; a lone `run` on two idle cores took 48 ms without and 39 with it (medians).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if (cores := usable_threads()) < (os.cpu_count() or 1):
        options.intra_op_num_threads = cores  # default: all of the machine
    # The optimised graph is not kept: loading it takes 0.3 s instead of 0.9 s for the demo at level full, and
    # 59 MB beside 12 MB of weights (full width: 0.3 s instead of 4.6 s, and 1.6 GB).
    settings: Mapping[str, str] = {}
    reason = io.StringIO()
    try:
        if device == "cuda":
            # TF32 has ten bits of mantissa: it is not what is asked for with float32.
            settings = {"use_tf32": "0"}
            with contextlib.redirect_stdout(reason):  # preload_dlls prints what it does not find
                library.preload_dlls()  # the CUDA libraries that pip installed
            library.set_default_logger_severity(4)  # that the provider cannot be made is said below
        session = library.InferenceSession(
            graph, options, providers=[(provider, settings)], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BackendUnavailableError(
            f"onnxruntime {library.__version__} cannot load {graph} on {device!r}: {error}"
        ) from error
    finally:
        if device == "cuda":
            library.set_default_logger_severity(2)  # what it is unless it is set
    used = session.get_providers()
    if used[0] != provider:
        missing = "; ".join(line for line in reason.getvalue().splitlines() if "Failed to load" in line)
        raise BackendUnavailableError(
            f"device {device!r} was asked for, and onnxruntime {library.__version__} made a session with "
            f"{', '.join(used)} instead of {provider}{f' ({missing})' if missing else ''}: "
            f"{_FITTING[device]}, or choose another device"
        )
    return session
