import ast
from pathlib import Path

import pytest

import train

MODULES = sorted(Path(train.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_training_does_not_know_the_export(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert "export" not in imported


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_training_prints_nothing_outside_its_command_line(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    printed = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
    assert not printed
