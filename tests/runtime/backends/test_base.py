import threading

import numpy as np
import pytest

from biounet_edge import BackendUnavailableError, InputError
from biounet_edge.backends.base import BaseBackend


class SlowBackend(BaseBackend):
    """Computes until it is told to go on."""

    library_name = "Slow"

    def _load(self, level):
        self.began, self.go_on, self.events = threading.Semaphore(0), threading.Event(), []
        return f"slow {level}"

    def _compute(self, images):
        self.began.release()
        self.go_on.wait(timeout=10)
        self.events.append("computed")
        return {"melanoma_probability": np.zeros(len(images), np.float32)}

    def _release(self):
        self.events.append("released")


@pytest.fixture
def backend(bundle):
    return SlowBackend(bundle, "classify", "cpu", "float32")


@pytest.fixture
def images(bundle):
    return np.zeros((2, bundle.manifest.input.height, bundle.manifest.input.width, 3), np.uint8)


def test_a_backend_says_what_it_has_loaded(backend):
    assert (backend.description, backend.device, backend.precision) == ("slow classify", "cpu", "float32")


def test_close_waits_for_every_batch_under_way(backend, images):
    runs = [threading.Thread(target=backend.run, args=(images,)) for _ in range(2)]
    for run in runs:
        run.start()
    for _ in runs:
        assert backend.began.acquire(timeout=10)
    close = threading.Thread(target=backend.close)
    close.start()
    close.join(timeout=0.05)
    assert close.is_alive()
    assert backend.events == []
    backend.go_on.set()
    for thread in (*runs, close):
        thread.join(timeout=10)
    assert backend.events == ["computed", "computed", "released"]


def test_a_closed_backend_computes_nothing(backend, images):
    backend.close()
    with pytest.raises(BackendUnavailableError, match="this Slow backend is closed: open another"):
        backend.run(images)
    assert backend.events == ["released"]


def test_close_does_not_wait_for_a_batch_that_failed(backend, images):
    backend.go_on.set()
    backend.events = None  # so that computing fails
    with pytest.raises(AttributeError):
        backend.run(images)
    backend.events = []
    backend.close()
    assert backend.events == ["released"]


def test_images_of_another_shape_are_not_computed(backend, images):
    with pytest.raises(InputError, match="expected images of shape"):
        backend.run(images[:, 1:])
    assert backend.events == []
