"""The CPU of this machine, and how much of it this process may use."""

import os
import platform
from pathlib import Path


def usable_threads() -> int:
    """Count the CPU's threads that this process may use, as in a container with some of the machine's.

    Returns:
        Their number.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor_name() -> str:
    """Name the CPU.

    Returns:
        Its model as the system gives it; the architecture where it gives none.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
