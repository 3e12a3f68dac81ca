"""How fast this machine multiplies matrices: what the speed of a graph is held against.

Convolutions are matrix products with a detour, so the best that a library reaches on a large product, in the
same number format, on the same device and in the same minute, is the most that a graph could reach there. The
product runs in the library that runs the graph: NumPy's would be held back by an OpenBLAS that was told to
take an old processor's kernel (OPENBLAS_CORETYPE), and has no short formats.
"""

import os
from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends.processor import usable_threads
from biounet_edge.backends.telemetry import import_onnxruntime, import_openvino
from biounet_edge.benchmark.matmul_graph import encode_matmul
from biounet_edge.bundle.manifest import Precision
from biounet_edge.errors import BackendUnavailableError

SIZES = (1024, 2048, 4096)
"""Rows of the square matrices: many cores need large ones, and a few would take seconds for them."""

_LONGEST_S = 0.5  # a product that would take longer is left out
_CALLS = 4  # of each product in a measurement; the fastest counts

Multiply = Callable[[], object]
"""One product of two square matrices."""

Open = Callable[[int], Multiply]
"""Prepares products of a size."""


class PeakMeter:
    """Measures the rate of matrix products, as often as it is asked, and keeps the best."""

    def __init__(self, device: str, precision: Precision) -> None:
        """Prepare the products.

        Args:
            device: One of `DEVICES` without "auto".
            precision: Number format to multiply in.

        Raises:
            BackendUnavailableError: If the peak of that device cannot be measured; the message is the reason.
        """
        self.gflops_per_s = 0.0
        """Rate of the fastest product so far, 2 operations per multiply-add."""
        self.method = "nothing yet"
        """What that product was, and the library that computed it."""
        self._products: list[tuple[str, int, Multiply]] = []
        for name, open_multiply in _products(device, precision).items():
            for size in SIZES:
                multiply = open_multiply(size)
                seconds = _seconds(multiply)  # the first call allocates, too
                self._products.append((f"{name}, {size} x {size}", size, multiply))
                if 8 * seconds > _LONGEST_S:  # twice the rows
                    break

    def measure(self) -> None:
        """Multiply each kind and size a few times.

        The fastest call counts: what slowed the others down was not the arithmetic.
        """
        for method, size, multiply in self._products:
            rate = 2 * size**3 / min(_seconds(multiply) for _ in range(_CALLS)) / 1e9
            if rate > self.gflops_per_s:
                self.gflops_per_s, self.method = rate, method


def _seconds(multiply: Multiply) -> float:
    start = perf_counter()
    multiply()
    return perf_counter() - start


def _products(device: str, precision: Precision) -> dict[str, Open]:
    """Return the ways to multiply, by their names for people."""
    if device == "cpu" and precision in ("float32", "int8"):
        onnxruntime = import_onnxruntime()

        operator = "MatMul" if precision == "float32" else "MatMulInteger"
        name = f"{operator} in onnxruntime {onnxruntime.__version__}"
        return {name: lambda size: _onnxruntime_multiply(size, precision)}
    if device == "openvino" and precision in ("float32", "bfloat16", "int8"):
        openvino = import_openvino()

        library = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        # They have kernels of their own, and either may be the faster.
        return {
            f"MatMul in {library}": lambda size: _openvino_multiply(size, precision, convolve=False),
            f"Convolution in {library}": lambda size: _openvino_multiply(size, precision, convolve=True),
        }
    raise BackendUnavailableError(
        f"the peak of {device} in {precision} is not measured: only products on the CPU are (cpu in float32 "
        "or int8, openvino in float32, bfloat16 or int8), because on a GPU the copies there and back would "
        "be measured with them"
    )


def _onnxruntime_multiply(size: int, precision: Precision) -> Multiply:
    onnxruntime = import_onnxruntime()

    rng = np.random.default_rng(0)
    x: NDArray[np.generic]
    if precision == "int8":
        model = encode_matmul(rng.integers(-127, 128, (size, size), dtype=np.int8), size)
        x = rng.integers(0, 256, (size, size), dtype=np.uint8)
    else:
        model = encode_matmul(rng.random((size, size), dtype=np.float32), size)
        x = rng.random((size, size), dtype=np.float32)
    options = onnxruntime.SessionOptions()
    if usable_threads() < (os.cpu_count() or 1):
        options.intra_op_num_threads = usable_threads()  # default: all of the machine's
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["y"], {"x": x})


def _openvino_multiply(size: int, precision: Precision, *, convolve: bool) -> Multiply:
    openvino = import_openvino()
    from openvino import opset13

    rng = np.random.default_rng(0)
    # A 1 x 1 convolution multiplies (outputs, channels) with (channels, pixels).
    shape = [1, size, size // 32, 32] if convolve else [size, size]
    weight_shape = [size, size, 1, 1] if convolve else [size, size]
    x = opset13.parameter(shape, np.float32, name="x")
    left, right = x, opset13.constant(rng.random(weight_shape, dtype=np.float32))
    if precision == "int8":  # OpenVINO computes in int8 what is between two FakeQuantize
        left = opset13.fake_quantize(left, *map(np.float32, (0, 1, 0, 1)), 256)
        right = opset13.fake_quantize(right, *map(np.float32, (-1, 1, -1, 1)), 255)
    if convolve:
        product = opset13.convolution(left, right, [1, 1], [0, 0], [0, 0], [1, 1])
    else:
        product = opset13.matmul(left, right, False, False)
    # The maximum keeps the copy of the product out of the measurement.
    largest = opset13.reduce_max(product, np.arange(len(shape)))
    hint = "bf16" if precision == "bfloat16" else "f32"
    compiled = openvino.Core().compile_model(
        openvino.Model([largest], [x], "product"),
        "CPU",
        {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"},
    )
    if (used := compiled.get_property("INFERENCE_PRECISION_HINT").to_string()) != hint:
        raise BackendUnavailableError(
            f"the peak of openvino in {precision} is not measured: this CPU computes in {used} instead"
        )
    request = compiled.create_infer_request()
    inputs = [rng.random(shape, dtype=np.float32)]
    return lambda: request.infer(inputs, share_inputs=True)
