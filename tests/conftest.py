"""How the tests are spread over processes, and what the processes share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 500
"""How long a process waits for what another one makes; less than `faulthandler_timeout`."""

MakeOnce = Callable[[str, Callable[[Path], None]], Path]


def pytest_configure(config: pytest.Config) -> None:
    """End the run when one of its processes dies.

    pytest-xdist would start another and, with `--dist loadfile`, wait for ever: it hands the files of the
    dead one out again, one each time that a test ends, and stops at the first whose tests had all ended.
    """
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"


def killed_for_memory() -> int:
    """Processes that Linux has killed since its start because memory was short; 0 where nothing tells."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


KILLED_BEFORE = killed_for_memory()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say that memory was short, where it was: the kernel ends a process without a word."""
    if error and (count := killed_for_memory() - KILLED_BEFORE):
        terminal = node.config.pluginmanager.getplugin("terminalreporter")
        terminal.write_line(f"memory was short: the kernel has killed {count} processes during this run")


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Fills a folder by a name, once for all processes of this run. What is in it is only read."""
    from filelock import FileLock

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each process has its own below it

    def get(name: str, make: Callable[[Path], None]) -> Path:
        made, unfinished = folder / f"once-{name}", folder / f"once-{name}.unfinished"
        with FileLock(f"{made}.lock", timeout=PATIENCE_S):
            if not made.exists():
                shutil.rmtree(unfinished, ignore_errors=True)  # of a process that failed
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(made)
        return made

    return get
