"""The package on its own: what it imports, what it offers, what it says when it fails."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import onnx_gradcam
from onnx_gradcam import errors
from onnx_gradcam.errors import OnnxGradcamError

PACKAGE = Path(onnx_gradcam.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
BASE = {"numpy", "onnx", "onnx_ir", "onnx_gradcam"}
COMMAND = {"rich", "typer"}
CONVERTER = {"onnxscript"}

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


def imported_packages(source: str) -> set[str]:
    """Names of the packages that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("relative" if node.level else str(node.module).split(".")[0])
    return names - sys.stdlib_module_names


@every_module
def test_modules_import_only_what_the_package_requires(path: Path) -> None:
    room = path.relative_to(PACKAGE).as_posix()
    allowed = BASE | (
        COMMAND if room.startswith("cli/") else CONVERTER if room == "preparation.py" else set()
    )
    assert imported_packages(path.read_text(encoding="utf-8")) <= allowed


def test_imported_packages_looks_inside_functions() -> None:
    source = "import os\ndef f():\n    import torch.nn as nn\n    from train.network import Encoder\n"
    assert imported_packages(source) == {"torch", "train"}


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if "cli" not in path.parts],
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)
def test_the_library_prints_nothing(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & {"print", "exit", "eval", "exec"} == set()


def test_import_loads_no_heavy_package() -> None:
    code = "import sys, onnx_gradcam; print({'numpy', 'onnx', 'onnx_ir', 'typer', 'rich'} & set(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == "set()\n"


def test_explaining_needs_neither_onnxscript_nor_the_command() -> None:
    code = (
        "import sys; from onnx_gradcam import add_heatmaps, list_layers, load_model, save_model; "
        "print({'onnxscript', 'typer', 'rich', 'torch'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == "set()\n"


def test_all_names_the_public_surface() -> None:
    assert dir(onnx_gradcam) == sorted(onnx_gradcam.__all__)
    for name in onnx_gradcam.__all__:
        assert getattr(onnx_gradcam, name) is not None
    with pytest.raises(AttributeError, match="module 'onnx_gradcam' has no attribute 'nothing'"):
        onnx_gradcam.nothing  # noqa: B018


@pytest.mark.parametrize(
    "error", [e for _, e in inspect.getmembers(errors, inspect.isclass) if e is not OnnxGradcamError]
)
def test_errors_are_known_and_builtin_ones(error: type[Exception]) -> None:
    assert issubclass(error, OnnxGradcamError)
    assert issubclass(error, ValueError | RuntimeError | OSError)
    assert str(error("a sentence")) == "a sentence"


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
