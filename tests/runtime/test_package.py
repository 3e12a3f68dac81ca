import ast
import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import biounet_edge
from biounet_edge import errors
from biounet_edge.bundle.folder import default_bundle
from biounet_edge.errors import BiounetEdgeError
from biounet_edge.indicators import INDICATORS, indicator_label

PACKAGE = Path(biounet_edge.__file__).parent
FORBIDDEN = {"torch", "torchvision", "train", "export", "onnx", "onnx_gradcam", "sklearn", "PIL"}
ALLOWED = {f"photographs/{name}.py": {"PIL"} for name in ("colour", "heif", "tiff_samples")}
"""What Pillow is for: LittleCMS, AVIF and libtiff."""
NETWORK = {
    "socket", "socketserver", "ssl", "http", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "asyncio",
    "fastapi", "starlette", "uvicorn", "python_multipart",
}  # fmt: skip
SERVICE = {
    "service/app.py": {"asyncio", "fastapi"},
    "service/upload.py": {"asyncio", "fastapi", "python_multipart", "starlette"},
}
"""The web service answers an ASGI server, which has the socket; it opens no connection itself."""


def imported_packages(source: str) -> set[str]:
    """Names of the packages that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("relative" if node.level else str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_no_module_imports_torch_train_or_export(path):
    allowed = ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())
    assert imported_packages(path.read_text(encoding="utf-8")) & FORBIDDEN == allowed


def test_imported_packages_looks_inside_functions():
    source = "def f():\n    import torch.nn as nn\n    from train.network import Encoder\n"
    assert imported_packages(source) == {"torch", "train"}


def test_import_loads_no_heavy_package():
    code = (
        "import sys, biounet_edge; "
        "print({'torch', 'onnxruntime', 'typer', 'rich', 'numpy', 'cv2'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == "set()\n"


def test_predictor_loads_onnxruntime_only_when_made():
    code = (
        "import sys; from biounet_edge import Predictor, Prediction, verify; "
        "print({'torch', 'onnxruntime', 'typer', 'rich'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == "set()\n"


def test_all_names_the_public_surface():
    assert dir(biounet_edge) == sorted(biounet_edge.__all__)
    for name in biounet_edge.__all__:
        assert getattr(biounet_edge, name) is not None
    with pytest.raises(AttributeError, match="module 'biounet_edge' has no attribute 'nothing'"):
        biounet_edge.nothing  # noqa: B018


@pytest.mark.parametrize(
    "error",
    [
        e
        for _, e in inspect.getmembers(errors, inspect.isclass)
        if issubclass(e, Exception) and e is not BiounetEdgeError and e.__module__ == errors.__name__
    ],
)
def test_errors_are_known_and_builtin_ones(error):
    assert issubclass(error, BiounetEdgeError)
    assert issubclass(error, ValueError | RuntimeError | OSError)
    assert str(error("a sentence")) == "a sentence"


def test_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_indicator_labels_are_words():
    assert [indicator_label(name) for name in INDICATORS] == [
        "pigment network", "negative network", "streaks", "milia-like cyst", "globules",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_library_neither_prints_nor_exits(path):
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & {"print", "exit", "eval", "exec"} == set()


@pytest.mark.parametrize(
    "path",
    sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "backends" / "telemetry.py"}),
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)
def test_libraries_with_telemetry_are_imported_in_one_place(path):
    plain = {
        name.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert plain & {"onnxruntime", "openvino"} == set()


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_no_module_reads_pickle(path):
    source = path.read_text(encoding="utf-8")
    assert (
        imported_packages(source) & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"} == set()
    )
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            options = {option.arg: option.value for option in node.keywords}
            allowed = options.get("allow_pickle")
            assert isinstance(allowed, ast.Constant), f"line {node.lineno}: say allow_pickle=False"
            assert allowed.value is False


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_no_module_opens_a_connection(path):
    source = path.read_text(encoding="utf-8")
    allowed = SERVICE.get(path.relative_to(PACKAGE).as_posix(), set())
    assert imported_packages(source) & NETWORK == allowed
    assert "urllib.request" not in source  # urllib.parse only takes addresses apart


@pytest.fixture
def wheel() -> Distribution:
    """What pip knows of the installed wheel."""
    installed = distribution("biounet-edge")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("an editable install has the metadata of the day it was made: install the wheel")
    return installed


def test_wheel_offers_no_extra_whose_code_it_lacks(wheel):
    extras = {"cpu", "gpu", "openvino", "tensorrt", "tensorrt-rtx", "dicom", "heif", "serve"}
    assert set(wheel.metadata.get_all("Provides-Extra")) == extras
    packages = {re.match(r"[\w.-]+", requirement)[0] for requirement in wheel.requires}
    assert packages & {"biounet-edge", "onnx", "pytest", "torch"} == set()


def test_wheel_states_the_licences_of_code_and_weights(wheel):
    assert wheel.metadata["License-Expression"] == "Apache-2.0 AND CC-BY-NC-4.0"
    assert wheel.metadata.get_all("License-File") == ["LICENSE", "LICENSE-WEIGHTS.txt"]
    assert "Apache License" in wheel.read_text("licenses/LICENSE")
    manifest = json.loads((default_bundle() / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["training"]["licence"] in wheel.read_text("licenses/LICENSE-WEIGHTS.txt")
