import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from biounet_edge import ImageError
from biounet_edge.photographs import file as image_file
from biounet_edge.photographs import memory
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.header import ImageHeader
from biounet_edge.photographs.memory import free_bytes, room_for

from .image_files import png

MB = 10**6


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes are free."""
    monkeypatch.setattr(memory, "PATIENCE_S", 0)

    def set_to(count: int) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda: count)

    return set_to


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes what the system tells about itself."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_of_address_space", lambda: iter(()))

    def write(path: str, content: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="ascii")

    write("proc/meminfo", "MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    return write


def test_free_bytes_are_those_of_the_system(system):
    assert free_bytes() == 500 * 1024


@pytest.mark.parametrize("level", ["a/b", "a", "."])
def test_free_bytes_are_those_of_any_group_above(system, level):
    system("proc/self/cgroup", "0::/a/b\n")
    system(f"cgroup/{level}/memory.max", "300000\n")
    system(f"cgroup/{level}/memory.current", "250000\n")
    system(f"cgroup/{level}/memory.stat", "anon 1\ninactive_file 20000\n")
    assert free_bytes() == 70000


def test_free_bytes_of_the_first_version_of_groups(system):
    system("proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/a\n")
    system("cgroup/memory/a/memory.limit_in_bytes", "300000\n")
    system("cgroup/memory/a/memory.usage_in_bytes", "290000\n")
    assert free_bytes() == 10000


def test_free_bytes_of_a_group_without_a_limit_are_those_of_the_system(system):
    system("proc/self/cgroup", "0::/a\n")
    system("cgroup/a/memory.max", "max\n")
    assert free_bytes() == 500 * 1024


def test_free_bytes_are_never_less_than_none(system):
    system("proc/self/cgroup", "0::/\n")
    system("cgroup/memory.max", "100\n")
    system("cgroup/memory.current", "200\n")
    assert free_bytes() == 0


LIMITED = """
import resource
from pathlib import Path
from biounet_edge.photographs.memory import free_bytes

pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 100 * 10**6,) * 2)
print(free_bytes())
"""


def test_free_bytes_end_at_the_limit_of_the_address_space():
    """In a process of its own: a thread of a library that gets no memory would end this one."""
    pytest.importorskip("resource", reason="this system has no such limit")
    if not Path("/proc/self/statm").is_file():
        pytest.skip("this system does not tell how much address space is taken")
    command = [sys.executable, "-c", LIMITED]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert 0 < int(process.stdout) <= 100 * MB


def test_decode_refuses_by_name_what_does_not_fit(free):
    free(1000 * MB)
    with pytest.raises(
        ImageError,
        match=r"does not fit into memory: its 15,000 x 15,000 pixels need 1,350 MB and 1,000 MB are free",
    ) as raised:
        decode(png(15000, 15000, 8, 2))
    assert not raised.value.is_of_content  # and is tried again by the next run


def test_large_images_wait_for_one_another(free):
    free(100_000 * MB)
    inside, most = [], []

    def work(_: int) -> None:
        with room_for(300 * MB, "it"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert max(most) == 1
    assert memory._decoding.bytes == 0


def test_images_wait_where_they_do_not_fit_together(free):
    free(300 * MB)
    entered, leave = Event(), Event()

    def hold() -> None:
        with room_for(100 * MB, "it"):
            entered.set()
            leave.wait(10)

    def follow() -> None:
        with room_for(200 * MB, "it"):
            pass

    first, second = Thread(target=hold), Thread(target=follow)
    first.start()
    entered.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    leave.set()
    second.join(10)
    first.join(10)
    assert not second.is_alive()


def test_small_images_ask_for_nothing(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: pytest.fail("it was asked"))
    with room_for(9 * MB, "it"):
        pass


def test_a_reduced_jpeg_needs_a_part_of_the_memory():
    whole = ImageHeader("JPEG", 4000, 6000)
    assert whole.needed_bytes(4) == whole.needed_bytes() // 16 == 4000 * 6000 * 3 // 16
    assert ImageHeader("JPEG", 4000, 6000, scans=10).needed_bytes(4) > 6 * 4000 * 6000


def test_stream_names_what_does_not_fit_and_reads_the_rest(predictor, photograph, tmp_path, free):
    free(1000 * MB)
    (tmp_path / "large.png").write_bytes(png(15000, 15000, 8, 2))
    sources = [photograph, tmp_path / "large.png", photograph, tmp_path / "large.png"]
    outcomes = list(predictor.stream(sources, batch_size=2))
    assert [hasattr(outcome, "error") for outcome in outcomes] == [False, True, False, True]
    assert "does not fit into memory" in outcomes[1].error


def test_read_file_looks_at_the_first_bytes_of_a_large_file_that_is_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "check_fits", lambda *_: pytest.fail("it was to be read whole"))
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1900 * 1024**2)  # sparse: takes no space
    with pytest.raises(ImageError, match="the file is not an image in a known format"):
        image_file.read_file(tmp_path / "a.jpg")


def test_results_wait_for_one_another_and_are_written_though_they_may_not_fit(free):
    free(100 * MB)
    inside, most = [], []

    def work(_: int) -> None:
        with room_for(300 * MB, "it", must_fit=False):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert (max(most), len(most)) == (1, 8)
    assert memory._decoding.bytes == 0
