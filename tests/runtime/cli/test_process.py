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


DAMAGED = """
import io, sys
import numpy as np
from PIL import Image
from biounet_edge.cli.process import silence_decoders
from biounet_edge.errors import ImageError
from biounet_edge.photographs.decoding import decode

file = io.BytesIO()
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
Image.fromarray(noise).save(file, "TIFF", compression="tiff_lzw")
data = file.getvalue()
middle = len(data) // 2
if "silence" in sys.argv:
    silence_decoders()
try:
    decode(data[:middle] + bytes(4096) + data[middle + 4096 :])
except ImageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="libtiff may be out of reach elsewhere")
@pytest.mark.parametrize("silence", [False, True])
def test_silence_decoders_keeps_libtiff_from_writing_to_stderr(silence):
    command = [sys.executable, "-c", DAMAGED, *(["silence"] if silence else [])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the TIFF image is truncated or damaged" in result.stdout
    assert (result.stderr == "") == silence
