import re
import sys
import threading

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, EngineMismatchError, InputError, ManifestError
from biounet_edge.backends.tensor_rt.backend import TensorRtBackend
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile


@pytest.mark.parametrize(
    ("count", "batches"),
    [(1, [2]), (2, [2]), (4, [4]), (5, [4, 2]), (9, [4, 4, 2]), (11, [4, 4, 3])],
)
def test_run_splits_large_batches_and_fills_up_small_ones(count, batches, install, opened, images, check):
    library = install()
    library.cuda.can_capture = False  # so that every batch is a call of its own
    backend = opened()
    pixels = images(count)
    check(backend.run(pixels), pixels)
    assert library.batches_run == batches
    backend.close()


def test_run_returns_arrays_of_the_callers_own(install, opened, images, check):
    install()
    backend = opened()
    first, second = images(3, seed=1), images(3, seed=2)
    kept = backend.run(first)
    check(backend.run(second), second)
    check(kept, first)


def test_run_launches_a_graph_from_the_second_batch_of_a_size_on(install, cuda, opened, images, check):
    library = install()
    backend = opened()
    for launches, seed in [(0, 1), (1, 2), (2, 3)]:
        pixels = images(3, seed)
        check(backend.run(pixels), pixels)
        assert cuda.launches == launches
    assert library.batches_run == [3]
    assert backend.description == (
        "tensorrt 11.4.0, NVIDIA L4, batches of 2 to 4, CUDA graphs for batches of 2, 3, 4"
    )


def test_run_records_no_graph_of_sizes_outside_the_profile(install, cuda, opened, images, check):
    library = install(batches=BatchProfile(1, 4, 8))
    backend = opened()
    for count in (5, 5, 3, 5, 8, 1):
        pixels = images(count, seed=count)
        check(backend.run(pixels), pixels)
    assert cuda.launches == 0
    assert library.batches_run == [5, 5, 3, 5, 8, 1]


def test_graphs_of_several_sizes_do_not_disturb_each_other(install, cuda, opened, images, check):
    install(batches=BatchProfile(1, 2, 4))
    backend = opened()
    for seed, count in enumerate([1, 2, 4, 1, 2, 4, 3, 1, 4, 2]):
        pixels = images(count, seed)
        check(backend.run(pixels), pixels)
    assert cuda.launches == 4  # growing from 1 to 2 and to 4 dropped the first graphs
    assert len(cuda.graphs) == 3


def test_run_goes_on_without_graphs_and_says_so(install, cuda, opened, images, check):
    library = install()
    cuda.can_capture = False
    backend = opened()
    for seed in range(3):
        pixels = images(3, seed)
        check(backend.run(pixels), pixels)
    assert library.batches_run == [3, 3, 3]
    assert cuda.captured is None
    assert cuda.captures == 1  # it is not tried again and again
    assert backend.description == (
        "tensorrt 11.4.0, NVIDIA L4, batches of 2 to 4, without CUDA graphs "
        "(cudaStreamEndCapture failed on the GPU with cudaErrorStreamCapture)"
    )


def test_memory_grows_with_the_batches_that_come(install, cuda, opened, images, check):
    install(batches=BatchProfile(1, 4, 64))
    backend = opened()
    sizes = []
    for count in (1, 1, 3, 64, 1):
        pixels = images(count)
        check(backend.run(pixels), pixels)
        sizes.append(sum(len(memory) for memory in cuda.memory.values()))
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3] == sizes[4]


def test_run_takes_one_thread_at_a_time(install, opened, images, check):
    install()
    backend = opened()
    problems = []

    def work(seed):
        try:
            for turn in range(5):
                pixels = images(3, seed=10 * seed + turn)
                check(backend.run(pixels), pixels)
        except BaseException as error:  # pytest sees nothing of another thread
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert problems == []


def test_close_gives_everything_back(install, cuda, opened, images):
    install()
    backend = opened()
    backend.run(images(3))
    backend.close()
    assert (cuda.memory, cuda.graphs, cuda.streams) == ({}, [], set())
    backend.close()
    with pytest.raises(BackendUnavailableError, match="this TensorRT backend is closed: open another"):
        backend.run(images(1))


def test_backend_says_what_it_is(install, opened):
    install(batches=BatchProfile(4, 4, 4))
    backend = opened()
    assert (backend.device, backend.precision) == ("tensorrt", "float32")
    assert backend.description == "tensorrt 11.4.0, NVIDIA L4, batches of 4, CUDA graphs for batches of 4"


def test_open_says_how_to_install_the_library(cuda, monkeypatch, opened):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendUnavailableError, match=r'pip install "biounet-edge\[tensorrt-rtx\]"'):
        opened("tensorrt-rtx")


def test_open_says_that_there_is_no_gpu(install, monkeypatch, opened):
    install()

    def no_gpu(device):
        raise BackendUnavailableError("this machine has no driver")

    monkeypatch.setattr("biounet_edge.backends.tensor_rt.backend.present_gpu", no_gpu)
    with pytest.raises(BackendUnavailableError, match="this machine has no driver"):
        opened()


def test_open_says_how_to_build_a_missing_engine(copy, install):
    install()
    with pytest.raises(
        BackendUnavailableError, match=r"there is no engine .*biounet-edge build .*--level full"
    ):
        TensorRtBackend(copy, "full", "tensorrt", "float32")


@pytest.mark.parametrize("device", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("changes", [{"compute_capabilities": ("9.0",)}, {"engine_sha256": "0" * 64}])
def test_open_never_loads_an_engine_that_does_not_fit(changes, device, install, cuda, opened):
    library = install(device, **changes)
    with pytest.raises(
        EngineMismatchError, match=rf"Build it again with biounet-edge build .*--device {device}"
    ):
        opened(device)
    assert library.loaded == []
    assert cuda.streams == set()


def test_open_passes_on_why_the_library_refuses_an_engine(install, cuda, opened):
    library = install()
    library.loads = False
    with pytest.raises(
        BackendUnavailableError,
        match=r"cannot load the engine .*: the plan is for another platform\. Building",
    ):
        opened()
    assert library.loaded == [b"an engine"]
    assert (cuda.memory, cuda.streams) == ({}, set())


def test_open_refuses_an_engine_whose_input_is_not_the_manifests(install, opened):
    install().input_row = (7, 7, 3)
    with pytest.raises(
        ManifestError, match=r"has the inputs \[\('image', 'uint8', \(7, 7, 3\)\)\], and the man"
    ):
        opened()


def test_open_refuses_an_engine_whose_outputs_are_not_the_manifests(install, opened):
    install().names.pop()
    with pytest.raises(
        ManifestError, match=r"has the outputs .*and the manifest says .*indicator_probability"
    ):
        opened()


def test_open_refuses_precisions_that_tensorrt_does_not_compute_in(copy, install):
    install()
    with pytest.raises(InputError, match=r"computes in float16 and float32, and not in int8"):
        TensorRtBackend(copy, "classify", "tensorrt", "int8")


@pytest.mark.parametrize("change", [lambda images: images[:, :7, :7], lambda images: images[:0]])
def test_run_refuses_images_of_another_size(change, install, opened, images):
    install()
    size = ", ".join(map(str, images(1).shape[1:]))
    bad = change(images(1))
    problem = f"expected images of shape (N, {size}) and type uint8 with N from 1 on, got {bad.shape} uint8"
    with pytest.raises(InputError, match=re.escape(problem)):
        opened().run(bad)


def test_run_refuses_images_of_another_type(install, opened, images):
    install()
    with pytest.raises(InputError, match=r"type uint8 with .*, got .* float32"):
        opened().run(images(1).astype(np.float32))


def test_run_says_when_tensorrt_fails(install, opened, images):
    install().executes = False
    with pytest.raises(BackendUnavailableError, match=r"TensorRT cannot run a batch of 3 on this GPU"):
        opened().run(images(3))


@pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMalloc"])
def test_run_recovers_from_full_memory_with_a_smaller_batch(function, install, cuda, opened, images, check):
    install(batches=BatchProfile(1, 2, 64))
    backend = opened()
    backend.run(images(2))
    cuda.full = function
    with pytest.raises(
        BackendUnavailableError, match=rf"{function} failed .*the memory is full, use a smaller"
    ):
        backend.run(images(64))
    pixels = images(2)
    check(backend.run(pixels), pixels)
    backend.close()
    assert cuda.memory == {}


def test_rtx_leaves_cuda_graphs_to_the_library(install, cuda, opened, images, check):
    library = install("tensorrt-rtx")
    backend = opened("tensorrt-rtx")
    for seed in range(3):
        pixels = images(3, seed)
        check(backend.run(pixels), pixels)
    assert library.config.cuda_graph_strategy is library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert cuda.launches == 0
    assert backend.description.endswith("batches of 2 to 4, CUDA graphs by the library")


def test_rtx_keeps_compiled_kernels_for_the_next_run(copy, install, opened):
    library = install("tensorrt-rtx")
    cache = copy.folder / "compiled" / "classify.tensorrt-rtx.cache"
    contents = []
    for compiled in (b" of batches of 1", b" and 8", b""):
        backend = opened("tensorrt-rtx")
        library.config.compiled = compiled
        backend.close()
        contents.append(cache.read_bytes())
    assert contents[0] == b"kernels of batches of 1"
    assert contents[1] == contents[2] == b"kernels of batches of 1 and 8"
    assert library.config.cache is library.config  # it was given to the contexts


def test_rtx_replaces_kernels_of_another_gpu(copy, install, opened):
    install("tensorrt-rtx")
    cache = copy.folder / "compiled" / "classify.tensorrt-rtx.cache"
    cache.write_bytes(b"of another GPU")
    opened("tensorrt-rtx").close()
    assert cache.read_bytes() == b"kernels"


def test_rtx_does_not_write_kernels_again_that_it_read(copy, install, opened, monkeypatch):
    install("tensorrt-rtx")
    (copy.folder / "compiled" / "classify.tensorrt-rtx.cache").write_bytes(b"kernels")
    monkeypatch.setattr("biounet_edge.backends.tensor_rt.contexts.write_compiled", None)
    opened("tensorrt-rtx").close()


def test_rtx_runs_from_a_bundle_that_cannot_be_written(copy, install, monkeypatch, opened, images, check):
    install("tensorrt-rtx")

    def refuse(source, target):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", refuse)
    backend = opened("tensorrt-rtx")
    pixels = images(3)
    check(backend.run(pixels), pixels)
    backend.close()
    assert not (copy.folder / "compiled" / "classify.tensorrt-rtx.cache").exists()
