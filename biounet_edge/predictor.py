"""The whole runtime: photograph -> decode -> resize -> backend -> prediction."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from biounet_edge.backends import Backend
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import FAMILIARITY, Level, Precision
from biounet_edge.checks.selection import open_backend
from biounet_edge.errors import BackendUnavailableError, Category, ImageError, InputError, UnfamiliarError
from biounet_edge.photographs.decoding import reduce_to, resize_to_input
from biounet_edge.photographs.quality import quality_notes
from biounet_edge.photographs.source import Source, open_source
from biounet_edge.prediction import (
    Outcome,
    Prediction,
    PredictionFailure,
    is_unfamiliar,
    make_prediction,
    not_assessed,
)

_NO_ROOM = "the image is too large for the memory that is free now"


class Predictor:
    """A loaded bundle that reads photographs. May be used from several threads.

    Pickled, it is its configuration: a process that unpickles it opens the bundle and loads the graph anew.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle | None = None,
        *,
        device: str = "auto",
        precision: Precision | Literal["auto"] = "auto",
        level: Level = "full",
        any_modality: bool = False,
        accept_unfamiliar: bool = False,
    ) -> None:
        """Open the bundle, check it and load the level's graph, once.

        Args:
            bundle: Folder of the bundle, or an opened one; None for the demo bundle of this package.
            device: One of `biounet_edge.backends.DEVICES`; never another than asked for. "auto" is the
                fastest that is installed and computes what it should.
            precision: "float32", "float16", "bfloat16" or "int8"; "auto" is the fastest that the device and
                the bundle have and that computes what it should.
            level: "classify" for probabilities, "cam" for heatmaps too, "full" for heatmaps and masks.
            any_modality: Whether to read DICOM images that are no photographs of skin by their header.
            accept_unfamiliar: Whether to assess photographs that are unlike those of the training too, with a
                warning.

        Raises:
            BundleNotFoundError: If there is no bundle in that folder.
            ManifestError: If its manifest is damaged or of a newer format.
            IntegrityError: If one of its files is missing or was changed.
            InputError: If it has no such level or precision, or there is no such device.
            BackendUnavailableError: If the device or its library is not there.
            EngineMismatchError: If the device's engine was built for something else.
            VerificationError: If the device does not compute what PyTorch computed.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.level: Level = level
        self.any_modality, self.accept_unfamiliar = any_modality, accept_unfamiliar
        self._asked = device, precision
        selection = open_backend(self.bundle, level, device, precision)
        self.selection: str = selection.reason
        self._backend: Backend | None = selection.backend

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickle what the predictor was made from, so that a worker process loads one of its own."""
        device, precision = self._asked
        make = partial(
            Predictor,
            device=device,
            precision=precision,
            level=self.level,
            any_modality=self.any_modality,
            accept_unfamiliar=self.accept_unfamiliar,
        )
        return make, (self.bundle.folder,)

    @property
    def backend(self) -> Backend:
        """The loaded graph; an error once the predictor is closed."""
        if self._backend is None:
            raise BackendUnavailableError("this Predictor is closed: make a new one")
        return self._backend

    def predict(self, source: Source) -> Prediction:
        """Read one photograph.

        Args:
            source: Path, bytes of an image file, one frame of a DICOM file, or RGB pixels, shape (H0, W0, 3),
                uint8.

        Returns:
            Probabilities, and heatmaps and masks as the level has them.

        Raises:
            UnfamiliarError: If it does not look like those that the model was trained on.
            ImageError: If it cannot be read, or its DICOM header says that it is no photograph of skin;
                `is_of_content` is False if another try may succeed.
        """
        outcome = next(self._predict_batch([self._prepare(source, 0)]))
        if isinstance(outcome, Prediction):
            return outcome
        if outcome.category is Category.UNFAMILIAR:
            raise UnfamiliarError(outcome.error, outcome.familiarity)
        raise ImageError(outcome.error, outcome.category)

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 8,
        preview_px: int = 0,
        before_decoding: Callable[[int, str], None] | None = None,
    ) -> Generator[Outcome, None, None]:
        """Read any number of photographs in bounded memory.

        Several threads decode ahead of the backend, and the backend computes ahead of the caller, so that it
        waits for neither. At most two batches are taken from the sources and not yet given back.

        Args:
            sources: Photographs, as for `predict`; may be a generator.
            batch_size: Number of photographs that the backend computes at once.
            preview_px: Where above 0, each prediction carries its photograph with the longer side reduced to
                this many pixels.
            before_decoding: Called for each file in the thread that decodes it, with its place among the
                sources, from 0, and the SHA-256 of its content.

        Yields:
            One prediction, or the reason why there is none, per source and in their order.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        remaining = enumerate(sources)
        decoders = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
        device = ThreadPoolExecutor(1, thread_name_prefix="device")
        batches: deque[Future[Iterator[Outcome]]] = deque()
        try:
            while True:
                while len(batches) < 2:
                    decoded = [
                        decoders.submit(self._prepare, source, preview_px, _at(place, before_decoding))
                        for place, source in islice(remaining, batch_size)
                    ]
                    if not decoded:
                        break
                    batch = (future.result() for future in decoded)  # waits in the thread of the device
                    batches.append(device.submit(self._predict_batch, batch))
                if not batches:
                    return
                yield from batches.popleft().result()
        finally:
            decoders.shutdown(cancel_futures=True)
            device.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Release the backend; a second call does nothing."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the backend."""
        self.close()

    def _prepare(
        self, source: Source, preview_px: int, before_decoding: Callable[[str], None] = lambda sha256: None
    ) -> "_Prepared | PredictionFailure":
        spec = self.bundle.manifest.input
        opened = open_source(source, before_decoding, any_modality=self.any_modality)
        try:
            with opened.read(spec.height, spec.width) as photograph:
                pixels = resize_to_input(photograph.pixels, spec.height, spec.width)
                return _Prepared(
                    source=opened.name,
                    size=photograph.size,
                    pixels=pixels,
                    preview=reduce_to(photograph.pixels, preview_px) if preview_px else None,
                    sha256=opened.sha256,
                    notes=photograph.notes + quality_notes(pixels),
                )
        except ImageError as error:
            sha256 = opened.sha256 if error.is_of_content else None
            return PredictionFailure(opened.name, str(error), sha256, error.category)
        except MemoryError:  # of this machine at this moment, and not of this content
            return PredictionFailure(opened.name, _NO_ROOM, category=Category.RETRY)

    def _predict_batch(self, batch: "Iterable[_Prepared | PredictionFailure]") -> Iterator[Outcome]:
        """Compute at once, and make predictions one by one when asked: the next batch waits for neither."""
        items = list(batch)
        prepared = [item.pixels for item in items if isinstance(item, _Prepared)]
        outputs = self.backend.run(np.stack(prepared)) if prepared else {}  # each (N, ...)
        rows = count()
        return (
            item if isinstance(item, PredictionFailure) else self._make_outcome(item, outputs, next(rows))
            for item in items
        )

    def _make_outcome(self, item: "_Prepared", outputs: dict[str, NDArray[np.float32]], row: int) -> Outcome:
        # Copies, because a view would keep the whole batch alive as long as one of its predictions.
        own = {name: array[row].copy() for name, array in outputs.items()}
        manifest = self.bundle.manifest
        if not self.accept_unfamiliar and is_unfamiliar(manifest, own):
            return not_assessed(manifest, own, item.source, item.sha256)
        if not all(np.isfinite(array).all() for name, array in own.items() if name != FAMILIARITY):
            reason = "the model returned a value that is not a finite number"
            return PredictionFailure(item.source, reason, item.sha256, Category.FAILED)
        return make_prediction(
            manifest, self.level, own, item.source, item.size, item.preview, item.sha256, item.notes
        )


def _at(place: int, call: Callable[[int, str], None] | None) -> Callable[[str], None]:
    return partial(call, place) if call is not None else lambda sha256: None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A photograph that is ready for the backend; its full-size pixels are already gone."""

    source: str
    size: tuple[int, int]
    pixels: NDArray[np.uint8]
    preview: NDArray[np.uint8] | None
    sha256: str | None
    notes: tuple[str, ...]
