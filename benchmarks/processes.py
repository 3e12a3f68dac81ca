"""What only the operating system knows: memory, and how long a process takes to answer."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import InputError

_COMMAND = "from biounet_edge.cli.main import main; main()"


def resident_mb() -> float | None:
    """Reads how much memory this process holds now.

    Returns:
        Resident set in MB, 10^6 bytes; None where the system has no /proc.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def first_result_s(bundle: Bundle, images: Path, options: list[str]) -> float:
    """Starts `biounet-edge predict` in a process of its own and waits for its first result.

    Args:
        bundle: The opened bundle.
        images: Folder of photographs.
        options: For level, device and number format.

    Returns:
        Seconds from the start of the process to the first line on its stdout, where its run is cut short.

    Raises:
        InputError: If the command ends without a result.
    """
    with tempfile.TemporaryDirectory(prefix="biounet-edge-start-") as output:
        # -u, because Python holds lines back from a pipe until there are some kilobytes of them.
        command = [sys.executable, "-u", "-c", _COMMAND, "predict", str(images), "--json", *options]
        command += ["--bundle", str(bundle.folder), "--output", output]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None, "stdout is a pipe"
            line = process.stdout.readline()
            seconds = time.perf_counter() - start
            process.terminate()
            _, errors = process.communicate()
    if not line:
        raise InputError(f"the command ended without a result: {errors.strip()}")
    return seconds
