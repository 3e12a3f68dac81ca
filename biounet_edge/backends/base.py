"""What every backend does around its library: it checks batches, and closes once none is being computed."""

from abc import ABC, abstractmethod
from threading import Condition
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.bundle.signature import check_images
from biounet_edge.errors import BackendUnavailableError

Outputs = dict[str, NDArray[np.float32]]
"""Name of each output to its array, with first axis N."""


class BaseBackend(ABC):
    """A `Backend` whose subclass loads a graph in `_load`, computes in `_compute` and frees in `_release`.

    `_compute` may be called from several threads at once; `_release` is called when none computes any more.
    """

    library_name: ClassVar[str]
    """What people call the library."""

    def __init__(self, bundle: Bundle, level: Level, device: str, precision: Precision) -> None:
        """Load a level's graph.

        Args:
            bundle: The opened bundle.
            level: How much is computed.
            device: One that the library drives.
            precision: Number format to compute in, one of `PRECISIONS` of the device.

        Raises:
            InputError: If this is not for the device, the device does not compute in that precision, or the
                bundle has no such graph.
            BackendUnavailableError: If the library, the device or its engine is missing, or the library
                cannot load the graph.
            EngineMismatchError: If the engine was built for something else, or is damaged.
            IntegrityError: If the graph is not safe to load.
            ManifestError: If the graph's input or outputs are not those of the manifest.
        """
        self.device, self.precision = device, precision
        self._bundle = bundle
        self._closed, self._running, self._changed = False, 0, Condition()
        self._title = self._load(level)

    @property
    def description(self) -> str:
        """Library, version and device, for people."""
        return self._title

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute every output of the graph, as `Backend.run` says.

        Raises:
            InputError: If the images have another shape or type.
            BackendUnavailableError: If the backend is closed, or the device fails, as where memory is short.
        """
        check_images(self._bundle, images)
        with self._changed:
            if self._closed:
                raise BackendUnavailableError(f"this {self.library_name} backend is closed: open another")
            self._running += 1
        try:
            return self._compute(images)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Release the device's memory once the batches under way are done; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._running == 0)
            self._release()

    @abstractmethod
    def _load(self, level: Level) -> str:
        """Load the graph and return what `description` says of it."""

    @abstractmethod
    def _compute(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute every output of a batch that was checked."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what loading has taken; a second call does nothing."""
