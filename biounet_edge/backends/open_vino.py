"""OpenVINO, on Intel and other CPUs and on Intel GPUs."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.base import BaseBackend, Outputs
from biounet_edge.backends.requirements import import_for, require_precision
from biounet_edge.backends.telemetry import import_openvino
from biounet_edge.bundle.folder import COMPILED_NAME, WEIGHTS_NAME, Bundle
from biounet_edge.bundle.graph_inspection import checked_graph
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.bundle.signature import Input, check_signature
from biounet_edge.errors import BackendUnavailableError, InputError

_DEVICES = {"openvino": "CPU", "openvino-gpu": "GPU"}
_NO_COPIES = {"share_inputs": True, "share_outputs": True}
_HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

SMALL_WEIGHTS = 64 << 20
"""Size of weights.bin in bytes below which two images are computed at once, with half of the cores each.

A batch is run as single images. Milliseconds per image in bfloat16 on two cores of a Zen 4, medians:

                                         one stream   two streams   a real batch
    demo, level full (12 MB of weights)
        a lone image                           27.4          26.0
        batch of 2                             28.0          15.7           21.0
        batch of 8                             29.6          15.7           12.3
    full width, level cam (650 MB, 512 px)
        a lone image                            552          1092
        batch of 2                              542           542
        batch of 4                              541           543

The demo's kernels are too small to be shared among threads. Where they are not, a second stream gains nothing
and makes a lone image wait for half of the cores.
"""


class OpenVinoBackend(BaseBackend):
    """A level's graph, compiled for this machine's CPU or Intel GPU. Computes a batch image by image.

    What was compiled is kept in `<bundle>/compiled/openvino` where that can be written, and loaded next time.
    """

    library_name = "OpenVINO"

    def _load(self, level: Level) -> str:
        device, bundle = self.device, self._bundle
        if device not in _DEVICES:
            raise InputError(f"OpenVINO runs on {' and '.join(_DEVICES)}, and not on device {device!r}")
        graph = checked_graph(bundle, level, require_precision(device, self.precision))
        library = import_for(device, "openvino", import_openvino)
        core = library.Core()
        target, hint = _DEVICES[device], _precision_hint(_capabilities(core, device), device, self.precision)
        streams = _streams(bundle)
        compiled, outputs = _compile(library, core, bundle, level, graph, target, hint, streams)
        # A port keeps the names of what the compiler joined: an output may have more than its own.
        self._outputs = {
            name: next(index for index, port in enumerate(compiled.outputs) if name in port.names)
            for name in outputs
        }
        self._shapes = {
            name: tuple(compiled.outputs[index].shape[1:]) for name, index in self._outputs.items()
        }
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())
        self._workers = ThreadPoolExecutor(streams, thread_name_prefix="openvino") if streams > 1 else None
        processor = core.get_property(target, "FULL_DEVICE_NAME").strip()
        return f"openvino {_version(library)}, {processor}, {hint}, {streams} at once"

    def _compute(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = {name: np.empty((len(images), *shape), np.float32) for name, shape in self._shapes.items()}

        def compute(row: int) -> None:
            request = self._requests.get()
            try:
                request.infer({0: np.ascontiguousarray(images[row : row + 1])}, **_NO_COPIES)
                for name, index in self._outputs.items():
                    outputs[name][row] = request.get_output_tensor(index).data[0]
            finally:
                self._requests.put(request)

        try:
            if self._workers is None or len(images) == 1:
                for row in range(len(images)):
                    compute(row)
            else:
                list(self._workers.map(compute, range(len(images))))
        except RuntimeError as error:
            raise BackendUnavailableError(f"{self.description} failed: {error}") from error
        return outputs

    def _release(self) -> None:
        if self._workers is not None:
            self._workers.shutdown()
        self._requests = SimpleQueue()  # drops the compiled graph


def _capabilities(core: Any, device: str) -> list[str]:
    """Ask what the device computes in, which tells whether it is there."""
    target = _DEVICES[device]
    try:
        return list(core.get_property(target, "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as error:
        remedy = "install the GPU's driver with its OpenCL runtime, or " if target == "GPU" else ""
        raise BackendUnavailableError(
            f"device {device!r} needs OpenVINO's device {target}, and OpenVINO finds "
            f"{', '.join(core.available_devices) or 'none'}: {remedy}choose another device ({error})"
        ) from error


def _precision_hint(capabilities: list[str], device: str, precision: Precision) -> str:
    """Return what is multiplied in; of int8 what the graph has not quantised."""
    if precision == "int8":
        return "bf16" if "BF16" in capabilities else "f32"
    if precision == "bfloat16" and "BF16" not in capabilities:
        raise BackendUnavailableError(
            f"device {device!r} cannot compute in bfloat16: this CPU has neither AMX nor AVX512-BF16 "
            f"(OpenVINO lists {', '.join(capabilities)}). Choose int8 or float32"
        )
    return _HINTS[precision]


def _streams(bundle: Bundle) -> int:
    weights = bundle.manifest.files.get(WEIGHTS_NAME)
    return 2 if weights is not None and weights.bytes < SMALL_WEIGHTS else 1


def _compile(
    library: Any,
    core: Any,
    bundle: Bundle,
    level: Level,
    graph: Path,
    target: str,
    hint: str,
    streams: int,
) -> tuple[Any, list[str]]:
    """Compile for one image at a time: kernels are chosen for a known shape."""
    version = _version(library)
    properties = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": str(streams)}
    if (cache := _cache_folder(bundle)) is not None:
        properties["CACHE_DIR"] = str(cache)
    try:
        model = core.read_model(graph)
        inputs = [_describe(port) for port in model.inputs]
        outputs = check_signature(
            bundle, level, graph.name, inputs, [port.any_name for port in model.outputs]
        )
        model.reshape({name: [1, *row] for name, _, row in inputs})
        compiled = core.compile_model(model, target, properties)
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    except RuntimeError as error:
        raise BackendUnavailableError(
            f"openvino {version} cannot compile {graph} for {target}: {error}"
        ) from error
    if used != hint:
        raise BackendUnavailableError(
            f"openvino {version} was asked for {hint} on {target} and computes in {used}: choose another "
            "precision"
        )
    return compiled, outputs


def _version(library: Any) -> str:
    return str(library.__version__.split("-")[0])  # the rest names the build


def _describe(port: Any) -> Input:
    row = tuple(axis.get_length() if axis.is_static else -1 for axis in port.partial_shape)[1:]
    return port.any_name, port.element_type.to_dtype().name, row


def _cache_folder(bundle: Bundle) -> Path | None:
    """Find a place for what is compiled; a bundle that cannot be written is compiled each time."""
    folder = bundle.folder / COMPILED_NAME / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None
