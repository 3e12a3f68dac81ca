"""An engine beside a bundle, and a machine that seems to run it."""

import hashlib
import sys
from collections.abc import Callable

import numpy as np
import pytest

from biounet_edge import Bundle
from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.backend import TensorRtBackend
from biounet_edge.backends.tensor_rt.engine_files import write_engine
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile, Sidecar, engine_path, this_platform
from biounet_edge.bundle.folder import COMPILED_NAME as FOLDER

from ..fake_cuda import FakeCuda
from .fake_tensorrt import FakeTensorRt, compute

L4 = Gpu("NVIDIA L4", "8.9", "13.0")
ENGINE = b"an engine"  # its content


@pytest.fixture
def copy(bundle_copy) -> Bundle:
    return Bundle.open(bundle_copy)


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.backend.present_gpu", lambda device: L4)
    return fake


@pytest.fixture
def install(copy, cuda, monkeypatch):
    """Makes a library importable and puts an engine beside the bundle."""

    def make(device: str = "tensorrt", batches: BatchProfile = BatchProfile(2, 3, 4), **changes):  # noqa: B008
        name, version = device.replace("-", "_"), "11.4.0" if device == "tensorrt" else "1.7.1"
        library = FakeTensorRt(name, version, cuda, copy.manifest.input.height, batches)
        monkeypatch.setitem(sys.modules, name, library)
        cuda.free_bytes = 8 * int(np.prod(library.input_row))
        files = copy.manifest.files
        fields = {
            "device": device,
            "library_version": version,
            "platform": this_platform(device),
            "gpu": "NVIDIA L4",
            "compute_capabilities": ("8.9",),
            "cuda": "13.0",
            "bundle": copy.manifest.name,
            "bundle_checksum": copy.checksum,
            "part": "classify",
            "precision": "float32",
            "graph": "classify.onnx",
            "graph_sha256": files["classify.onnx"].sha256,
            "weights_sha256": files["weights.bin"].sha256,
            "batch_profile": batches,
            "engine_sha256": hashlib.sha256(ENGINE).hexdigest(),
            "engine_bytes": len(ENGINE),
            "build_seconds": 1.0,
        }
        path = engine_path(copy.folder / FOLDER, "classify.onnx", device)
        write_engine(path, memoryview(ENGINE), Sidecar.model_validate(fields | changes))
        return library

    return make


@pytest.fixture
def images(copy) -> Callable[..., np.ndarray]:
    """Images of different brightness, shape (count, H, W, 3)."""
    spec = copy.manifest.input

    def make(count: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        levels = rng.permutation(np.linspace(0, 255, max(count, 2)))[:count].astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (count, spec.height, spec.width, 3))

    return make


@pytest.fixture
def check() -> Callable[[dict[str, np.ndarray], np.ndarray], None]:
    """Compares outputs with what the kernels compute from the images."""

    def compare(outputs: dict[str, np.ndarray], pixels: np.ndarray) -> None:
        expected = compute(pixels)
        assert set(outputs) == set(expected)
        for name, array in outputs.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected[name], rtol=1e-6)

    return compare


@pytest.fixture
def opened(copy) -> Callable[..., TensorRtBackend]:
    """Opens the backend of level classify."""
    return lambda device="tensorrt": TensorRtBackend(copy, "classify", device, "float32")
