import platform
import subprocess
import sys

import pytest

WORK = """
import resource, sys, threading
import cv2, numpy as np
from biounet_edge.cli.process import share_cores

def work():
    for _ in range(50):
        arrays = [np.ones(2 << 20, np.uint8) for _ in range(4)]
        del arrays

if "share" in sys.argv:
    share_cores()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, cv2.getNumThreads())
"""


def run(*arguments: str) -> list[int]:
    command = [sys.executable, "-c", WORK, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [int(number) for number in output.split()]


def test_share_cores_leaves_opencv_one_thread():
    assert run("share")[1] == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory by this rule")
def test_share_cores_keeps_the_memory_of_one_photograph_for_the_next():
    assert run("share")[0] < run()[0] / 5
