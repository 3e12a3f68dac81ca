import dataclasses
import hashlib
import json
import os
import shlex

import pytest

from biounet_edge import BackendUnavailableError, Bundle, EngineMismatchError, InputError, OutputError
from biounet_edge.backends.gpu import Gpu
from biounet_edge.backends.tensor_rt.engine_files import (
    previous_build,
    read_engine,
    write_compiled,
    write_engine,
)
from biounet_edge.backends.tensor_rt.sidecar import (
    BatchProfile,
    Sidecar,
    build_command,
    engine_path,
    parse_batch_profile,
    this_platform,
)
from biounet_edge.bundle.folder import COMPILED_NAME as FOLDER

L4 = Gpu("NVIDIA L4", "8.9", "13.0")
ENGINE = bytes(range(256)) * 4


def sidecar(bundle: Bundle, device: str = "tensorrt", **changes: object) -> Sidecar:
    """What `build` writes for level classify on an L4."""
    files = bundle.manifest.files
    fields = {
        "device": device,
        "library_version": "11.4.0.106",
        "platform": this_platform(device),
        "gpu": "NVIDIA L4",
        "compute_capabilities": ("8.9",),
        "cuda": "13.0",
        "bundle": bundle.manifest.name,
        "bundle_checksum": bundle.checksum,
        "part": "classify",
        "precision": "float32",
        "graph": "classify.onnx",
        "graph_sha256": files["classify.onnx"].sha256,
        "weights_sha256": files["weights.bin"].sha256,
        "batch_profile": (1, 4, 16),
        "engine_sha256": hashlib.sha256(ENGINE).hexdigest(),
        "engine_bytes": len(ENGINE),
        "build_seconds": 12.5,
    }
    return Sidecar.model_validate(fields | changes)


def store(bundle: Bundle, device: str = "tensorrt", **changes: object):
    """Puts an engine and its sidecar where the backend looks for them."""
    path = engine_path(bundle.folder / FOLDER, "classify.onnx", device)
    write_engine(path, memoryview(ENGINE), sidecar(bundle, device, **changes))
    return path


def read(bundle: Bundle, device: str = "tensorrt", version: str = "11.4.0.106", gpu: Gpu = L4):
    return read_engine(bundle, "classify", device, "float32", version, gpu)


def test_parse_batch_profile_reads_three_sizes():
    assert parse_batch_profile("1, 8,32") == BatchProfile(min=1, opt=8, max=32)
    assert parse_batch_profile("4,4,4") == BatchProfile(4, 4, 4)


@pytest.mark.parametrize(
    "text", ["", "8", "1,8", "1,8,32,64", "8,1,32", "1,32,8", "0,1,2", "1,x,8", "1.5,2,3"]
)
def test_parse_batch_profile_says_what_a_profile_is(text):
    with pytest.raises(
        InputError, match=r"the smallest, the usual and the largest batch .*1,8,32; got "
    ) as e:
        parse_batch_profile(text)
    assert repr(text) in str(e.value)


def test_read_engine_returns_an_engine_that_fits(copy):
    path = store(copy)
    found, content = read(copy)
    assert content == ENGINE
    assert found == sidecar(copy)
    assert path == copy.folder / "compiled" / "classify.tensorrt.engine"
    assert json.loads(path.with_suffix(".json").read_text())["gpu"] == "NVIDIA L4"


def test_read_engine_accepts_a_newer_driver(copy):
    store(copy, cuda="13.2")
    assert read(copy, gpu=dataclasses.replace(L4, cuda="13.10"))[1] == ENGINE


def test_read_engine_of_rtx_accepts_every_gpu_of_its_architectures(copy):
    store(copy, "tensorrt-rtx", gpu=None, cuda=None, compute_capabilities=("8.6", "8.9"))
    for gpu in (Gpu("NVIDIA GeForce RTX 4070", "8.9", "13.0"), Gpu("NVIDIA RTX A4000", "8.6", "12.9")):
        assert read(copy, "tensorrt-rtx", gpu=gpu)[1] == ENGINE


def test_read_engine_says_how_to_build_a_missing_one(copy):
    with pytest.raises(BackendUnavailableError) as error:
        read(copy)
    command = f"biounet-edge build {copy.folder} --device tensorrt --level classify --precision float32"
    assert str(error.value).startswith(f"there is no engine {copy.folder / 'compiled'}")
    assert str(error.value).endswith(f"build it on this machine with {command}")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"gpu": "NVIDIA A10"}, r"GPU \(expected NVIDIA A10, found NVIDIA L4\)"),
        ({"compute_capabilities": ("8.6",)}, r"compute capability \(expected 8.6, found 8.9\)"),
        ({"library_version": "10.13.2"}, r"tensorrt version \(expected 10.13.2, found 11.4.0.106\)"),
        ({"platform": "Windows AMD64"}, r"platform \(expected Windows AMD64, found "),
        ({"cuda": "13.2"}, r"CUDA of the driver \(expected 13.2 or newer, found 13.0\)"),
        ({"bundle_checksum": "a" * 64}, r"bundle checksum \(expected aaaaaaaaaaaa\.\.\., found "),
        ({"graph": "full.onnx"}, r"graph \(expected full.onnx, found classify.onnx\)"),
        ({"precision": "float16"}, r"precision \(expected float16, found float32\)"),
        ({"graph_sha256": "b" * 64}, r"SHA-256 of the graph \(expected bbbbbbbbbbbb\.\.\., found "),
        ({"weights_sha256": "c" * 64}, r"SHA-256 of weights.bin \(expected cccccccccccc\.\.\., found "),
    ],
)
def test_read_engine_names_what_differs(changes, difference, copy):
    path = store(copy, **changes)
    with pytest.raises(EngineMismatchError, match=rf"was built for something else: {difference}") as error:
        read(copy)
    command = build_command(copy, "classify", "tensorrt", "float32", BatchProfile(1, 4, 16))
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith(f"Build it again with {command}")
    assert "--batch-profile 1,4,16" in command


def test_read_engine_names_every_difference_at_once(copy):
    store(copy)
    with pytest.raises(
        EngineMismatchError, match=r"version \(.*\); GPU \(.*\); compute capability \("
    ) as error:
        read(copy, version="11.5.0", gpu=Gpu("NVIDIA H100", "9.0", "13.0"))
    assert "checksum" not in str(error.value)


def test_read_engine_refuses_an_engine_of_another_bundle(copy):
    store(copy)
    other = Bundle(copy.folder, copy.manifest, "d" * 64)
    with pytest.raises(
        EngineMismatchError, match=r"bundle checksum \(expected .*, found dddddddddddd\.\.\.\)"
    ):
        read(other)


def test_read_engine_refuses_an_rtx_engine_without_this_architecture(copy):
    store(copy, "tensorrt-rtx", gpu=None, cuda=None, compute_capabilities=("8.6", "12.0"))
    with pytest.raises(
        EngineMismatchError,
        match=r"compute capability \(expected 8.6 or 12.0, found 8.9\).*--device tensorrt-rtx",
    ):
        read(copy, "tensorrt-rtx")


@pytest.mark.parametrize("damaged", [ENGINE[:-1], b"\xff" + ENGINE[1:], b""])
def test_read_engine_refuses_a_damaged_engine(damaged, copy):
    path = store(copy)
    path.write_bytes(damaged)
    with pytest.raises(
        EngineMismatchError,
        match=rf"is damaged.*expected 1024 bytes.*found {len(damaged)} bytes.*Build it again",
    ):
        read(copy)


def test_read_engine_refuses_an_engine_without_a_sidecar(copy):
    store(copy).with_suffix(".json").unlink()
    with pytest.raises(
        EngineMismatchError, match=r"classify.tensorrt.json cannot be read \(No such.*Build it"
    ):
        read(copy)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda text: text[:40], "JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format"),
        (lambda text: text.replace('"gpu"', '"gpus"'), "gpu, gpus"),
    ],
)
def test_read_engine_refuses_a_damaged_sidecar(change, wrong, copy):
    path = store(copy).with_suffix(".json")
    path.write_text(change(path.read_text()))
    with pytest.raises(
        EngineMismatchError, match=rf"damaged or of another version \(wrong: {wrong}\).*Build it"
    ):
        read(copy)


def test_previous_build_is_known_for_the_same_gpu_only(copy):
    path = store(copy)
    assert previous_build(path, L4) == 12.5
    assert previous_build(path, Gpu("NVIDIA A10", "8.6", "13.0")) is None
    assert previous_build(path, None) is None
    assert previous_build(path.with_name("full.tensorrt.engine"), L4) is None


def test_build_command_survives_a_shell(copy):
    spaced = Bundle(copy.folder.with_name("my bundle"), copy.manifest, copy.checksum)
    words = shlex.split(build_command(spaced, "full", "tensorrt-rtx", "float16"))
    assert words[:3] == ["biounet-edge", "build", str(spaced.folder)]
    assert words[3:] == ["--device", "tensorrt-rtx", "--level", "full", "--precision", "float16"]


def test_write_compiled_keeps_the_old_file_when_the_disk_is_full(copy, monkeypatch):
    path = store(copy)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"engine cannot be written \(No space left.*check the free space"):
        write_compiled(path, b"a new engine")
    assert path.read_bytes() == ENGINE
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "classify.tensorrt.engine",
        "classify.tensorrt.json",
    ]
