"""What a benchmark does in every round: the stages one after the other, and the real path.

    decode        file to network input, and the preview for overlays, one photograph after another
    inference     backend.run, on batches that are ready
    postprocess   outputs to predictions
    write         predictions to the files and tables of `biounet-edge predict`, by its ResultWriter
    end to end    all of it by run_folder, as the command does, which works on several photographs at once

Every stage works on what the one before it made.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import ParamSpec, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from biounet_edge.benchmark.figures import StageFigures, summarise
from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import ImageError
from biounet_edge.photographs.decoding import read_photograph, reduce_to, resize_to_input
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.photographs.discovery import InputImage, discover
from biounet_edge.prediction import Prediction, PredictionFailure, make_prediction
from biounet_edge.predictor import Predictor
from biounet_edge.results.kinds import Save
from biounet_edge.results.overlay import OVERLAY_PX
from biounet_edge.results.writer import ResultWriter
from biounet_edge.runs.folder import RunOptions, run_folder

STAGES = ("decode", "inference", "postprocess", "write")
"""What is measured alone."""

END_TO_END = "end to end"

_LEAST_BATCHES = 2  # in a round: decoding ahead needs a batch to decode behind
_JPEG_QUALITY = 95

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Recorder:
    """Seconds of every call, by stage and round."""

    def __init__(self) -> None:
        """Start with an empty round."""
        self._rounds: list[dict[str, list[float]]] = [{}]

    def start_round(self) -> None:
        """Begin another round, where this one has calls."""
        if self._rounds[-1]:
            self._rounds.append({})

    def time(self, stage: str, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        """Call a function and keep how long it took.

        Args:
            stage: What it belongs to.
            call: The function.
            *args: Its arguments.
            **options: Its named arguments.

        Returns:
            What it returned.
        """
        start = perf_counter()
        result = call(*args, **options)
        self._rounds[-1].setdefault(stage, []).append(perf_counter() - start)
        return result

    def rounds(self, stage: str) -> list[list[float]]:
        """Seconds of each call of a stage, by round."""
        return [calls[stage] for calls in self._rounds]


@dataclass(frozen=True)
class Workload:
    """What one round does."""

    predictor: Predictor
    """Runs the stages."""
    images: Sequence[InputImage]
    """Photographs; full batches."""
    batch_size: int
    """Photographs that the backend computes at once."""
    kinds: tuple[Save, ...]
    """Kinds of image files to write."""
    output: Path
    """Folder for the results, which are removed after each round."""

    def run(self, recorder: Recorder) -> None:
        """Measure every stage once, and all together once.

        Args:
            recorder: Takes the seconds.

        Raises:
            ImageError: If a photograph cannot be read.
            OutputError: If a result cannot be written.
        """
        self._run_stages(recorder)  # what they hold is gone before the stream begins
        self._clear()
        recorder.time(END_TO_END, self._predict)
        self._clear()

    def summarise(self, recorder: Recorder) -> tuple[tuple[StageFigures, ...], StageFigures]:
        """Sum up what a recorder took.

        Args:
            recorder: After one round or more.

        Returns:
            Each of `STAGES`, and all together.
        """
        one, all_of_them = "1 photograph", f"{len(self.images)} photographs"
        batch = one if self.batch_size == 1 else f"batch of {self.batch_size}"
        calls = dict(zip((*STAGES, END_TO_END), (one, batch, one, all_of_them, all_of_them), strict=True))
        figures = [summarise(n, call, recorder.rounds(n), len(self.images)) for n, call in calls.items()]
        return tuple(figures[:-1]), figures[-1]

    def _run_stages(self, recorder: Recorder) -> None:
        predictor, size = self.predictor, self.batch_size
        decoded = [recorder.time("decode", self._decode, image) for image in self.images]
        pixels = [item.pixels for item in decoded]
        batches = [np.stack(pixels[first : first + size]) for first in range(0, len(pixels), size)]
        outputs = [recorder.time("inference", predictor.backend.run, batch) for batch in batches]
        rows = [
            {name: array[row].copy() for name, array in output.items()}
            for output, batch in zip(outputs, batches, strict=True)
            for row in range(len(batch))
        ]
        manifest, level = predictor.bundle.manifest, predictor.level
        predictions = [
            recorder.time(
                "postprocess", make_prediction, manifest, level, row, item.source, item.size, item.preview
            )
            for item, row in zip(decoded, rows, strict=True)
        ]
        recorder.time("write", self._write, predictions)

    def _decode(self, image: InputImage) -> "_Decoded":
        spec = self.predictor.bundle.manifest.input
        try:
            photograph = read_photograph(image.source, spec.height, spec.width)
        except ImageError as error:
            raise _unreadable(image.source, str(error)) from error
        return _Decoded(
            source=str(image.source),
            size=photograph.size,
            pixels=resize_to_input(photograph.pixels, spec.height, spec.width),
            preview=reduce_to(photograph.pixels, self._preview_px) if self._preview_px else None,
        )

    @property
    def _preview_px(self) -> int:
        return OVERLAY_PX if "overlays" in self.kinds else 0

    def _predict(self) -> None:
        options = RunOptions(self.kinds, self.batch_size)
        for item in run_folder(self.predictor, self.images, self.output / "results", options):
            if isinstance(item.outcome, PredictionFailure):
                raise _unreadable(item.outcome.source, item.outcome.error)

    def _write(self, predictions: Iterable[Prediction]) -> None:
        notice = self.predictor.bundle.manifest.notice
        with ResultWriter(self.output / "results", self.kinds, notice) as writer:
            for image, prediction in zip(self.images, predictions, strict=True):
                writer.write(image, prediction)

    def _clear(self) -> None:
        shutil.rmtree(self.output / "results")


@dataclass(frozen=True)
class _Decoded:
    """A photograph that is ready for the backend."""

    source: str
    size: tuple[int, int]
    pixels: NDArray[np.uint8]
    preview: NDArray[np.uint8] | None


def _unreadable(source: Path | Frame | str, reason: str) -> ImageError:
    return ImageError(f"{source}: {reason}; a benchmark needs photographs that can be read, remove this one")


@contextmanager
def photographs(bundle: Bundle, images: Path | None, limit: int) -> Iterator[tuple[list[InputImage], str]]:
    """Find the files to read.

    Args:
        bundle: Its golden images are written to JPEG files where there are no others.
        images: Folder of photographs, or one photograph, or None.
        limit: Number of photographs at most.

    Yields:
        The files, and what they are in words.

    Raises:
        InputError: If there are none.
    """
    if images is not None:
        found = discover([images])
        chosen = found[:limit]
        text = f"{len(chosen)} of {images}" if len(chosen) < len(found) else f"{len(found)} in {images}"
        yield chosen, text
        return
    golden = bundle.golden().image[:limit]
    with tempfile.TemporaryDirectory(prefix="biounet-edge-golden-") as folder:
        for number, pixels in enumerate(golden):
            quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            _, content = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), quality)
            (Path(folder) / f"golden_{number}.jpg").write_bytes(content.tobytes())
        size = f"{golden.shape[2]} x {golden.shape[1]} pixels"
        yield (
            discover([Path(folder)]),
            f"the bundle's {len(golden)} golden images as JPEG files of {size}; those of a camera take "
            "longer to decode",
        )


def fill(found: Sequence[InputImage], batch_size: int) -> list[InputImage]:
    """Repeat photographs until there are full batches, and two of them at least.

    Args:
        found: Photographs, one at least.
        batch_size: Photographs in a batch.

    Returns:
        The photographs and their repeats; each has results of its own.
    """
    count = max(_LEAST_BATCHES, -(-len(found) // batch_size)) * batch_size
    filled = list(found)
    for number in range(len(found), count):
        image = found[number % len(found)]
        filled.append(replace(image, stem=f"again_{number // len(found)}/{image.stem}"))
    return filled
