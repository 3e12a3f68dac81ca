"""`python -m benchmarks.predict BUNDLE`: what `biounet-edge predict` takes beside inference.

One run over all photographs, results written, is stopped at each fifth to measure inference alone on batches
that are ready: the two alternate in one process. What was computed ahead during a stop is used up before the
clock starts again. And the real command in a process of its own says how long a person waits for the first
result.
"""

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from benchmarks.machine import Machine, describe_machine
from benchmarks.processes import first_result_s, resident_mb
from biounet_edge.backends.processor import usable_threads
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.cli.console import print_json
from biounet_edge.cli.process import share_cores
from biounet_edge.errors import BiounetEdgeError, InputError
from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.discovery import InputImage, discover
from biounet_edge.prediction import PredictionFailure
from biounet_edge.predictor import Predictor
from biounet_edge.results.kinds import Save, parse_save
from biounet_edge.runs.folder import RunOptions, run_folder

PARTS = 5
"""The run is measured in so many parts, inference alone after each."""

AHEAD_BATCHES = 2
"""Batches that Predictor.stream works on ahead of its caller. It is given the time for them before inference
alone is measured; afterwards they are ready, and so many of each part are left out of its time."""

_SETTLE = 1.5  # of the time that so many batches take

READY_BATCHES = 2
"""Different batches that inference alone runs on, in turn."""


@dataclass(frozen=True)
class PredictReport:
    """What was measured."""

    bundle: str
    """Name and version of the model."""
    level: Level
    """How much was computed."""
    backend: str
    """Device, number format, library and version."""
    machine: Machine
    """Processor, threads, versions."""
    photographs: str
    """What was read."""
    images: int
    """Photographs of the run."""
    batch_size: int
    """Photographs that the backend computed at once."""
    saved: tuple[str, ...]
    """Kinds of image files that were written."""
    predict_images_per_s: float
    """Photographs to written results: median over the parts."""
    inference_images_per_s: float
    """Inference alone, on ready batches: median over the parts."""
    ratio: float
    """Predict's throughput divided by that of inference alone, median over the parts: 1 is all of it."""
    memory_first_part_mb: float | None
    """Resident memory after a fifth of the photographs; None where the system does not tell."""
    memory_all_mb: float | None
    """Resident memory after all of them."""
    first_result_s: float
    """From the start of `biounet-edge predict --json` to the first line on its stdout: median."""
    starts: int
    """How often that was measured."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def measure_predict(
    bundle: Bundle,
    images: Path,
    *,
    count: int | None = None,
    level: Level = "full",
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    batch_size: int = 8,
    starts: int = 3,
    report: Callable[[str], None] = lambda line: None,
) -> PredictReport:
    """Measures a run of predict, inference alone, memory and the time to the first result.

    Args:
        bundle: The opened bundle.
        images: Folder of photographs.
        count: Photographs of the run, the folder's again and again; None for each of them once.
        level: How much is computed.
        device: As in `open_backend`.
        precision: As in `open_backend`.
        batch_size: Photographs that the backend computes at once.
        starts: How often the command is started.
        report: Called with a line about what is being measured.

    Returns:
        What was measured.

    Raises:
        InputError: If there are too few photographs to measure, or one cannot be read.
    """
    found = discover([images])
    files = _repeat(found, count or len(found))
    least = PARTS * (AHEAD_BATCHES + 1) * batch_size
    if len(files) < least:
        raise InputError(
            f"expected at least {least} photographs for batches of {batch_size}, got {len(files)}: repeat "
            f"them with --count {least}"
        )
    kinds = parse_save(None, level)
    with Predictor(bundle, device=device, precision=precision, level=level) as predictor:
        parts, memory = _alternate(predictor, files, batch_size, kinds, report)
        backend = predictor.backend
        described = f"{backend.device} in {backend.precision} ({backend.description})"
        device, precision = backend.device, backend.precision
    options = ["--level", level, "--device", device, "--precision", precision]
    waits = []
    for number in range(starts):
        report(f"starting the command, {number + 1} of {starts}")
        waits.append(first_result_s(bundle, images, options))
    return PredictReport(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        level=level,
        backend=described,
        machine=describe_machine(usable_threads()),
        photographs=f"{len(found)} of {images}",
        images=len(files),
        batch_size=batch_size,
        saved=kinds,
        predict_images_per_s=median(predicted for predicted, _ in parts),
        inference_images_per_s=median(inferred for _, inferred in parts),
        ratio=median(predicted / inferred for predicted, inferred in parts),
        memory_first_part_mb=memory[0],
        memory_all_mb=memory[-1],
        first_result_s=median(waits),
        starts=starts,
    )


def _repeat(found: list[InputImage], count: int) -> list[InputImage]:
    """Photographs again and again, each with results of its own."""
    return [
        InputImage(
            found[number % len(found)].path, f"{number:06d}_{Path(found[number % len(found)].stem).name}"
        )
        for number in range(count)
    ]


def _alternate(
    predictor: Predictor,
    files: list[InputImage],
    batch_size: int,
    kinds: tuple[Save, ...],
    report: Callable[[str], None],
) -> tuple[list[tuple[float, float]], list[float | None]]:
    """(predict, inference alone) in images per second and resident memory in MB, for each part of one run."""
    spec = predictor.bundle.manifest.input
    ready = [
        np.stack(
            [read_input(file.path, spec.height, spec.width) for file in files[first : first + batch_size]]
        )
        for first in range(0, READY_BATCHES * batch_size, batch_size)
    ]
    for batch in ready:
        predictor.backend.run(batch)  # warms up
    rates: list[tuple[float, float]] = []
    memory: list[float | None] = []
    sizes = [len(part) for part in np.array_split(np.arange(len(files)), PARTS)]
    options = RunOptions(kinds, batch_size)
    with (
        tempfile.TemporaryDirectory(prefix="biounet-edge-predict-") as output,
        closing(_predict(predictor, files, Path(output), options)) as run,
    ):
        for number, size in enumerate(sizes):
            report(f"predicting, part {number + 1} of {PARTS}")
            _advance(run, AHEAD_BATCHES * batch_size)
            predicted = _rate(partial(_advance, run, size - AHEAD_BATCHES * batch_size))
            memory.append(resident_mb())
            time.sleep(_SETTLE * AHEAD_BATCHES * batch_size / predicted)
            report(f"inference alone, part {number + 1} of {PARTS}")
            rates.append((predicted, _rate(partial(_infer, predictor, ready, size))))
    return rates, memory


def _predict(
    predictor: Predictor, files: list[InputImage], output: Path, options: RunOptions
) -> Generator[None, None, None]:
    """Does one photograph for each step that is taken, as the command does."""
    with closing(run_folder(predictor, files, output, options)) as run:
        for item in run:
            if isinstance(item.outcome, PredictionFailure):
                raise InputError(
                    f"{item.outcome.source}: {item.outcome.error}; remove this photograph from the benchmark"
                )
            yield


def _advance(run: Iterator[None], count: int) -> int:
    return sum(1 for _ in islice(run, count))


def _infer(predictor: Predictor, ready: list[NDArray[np.uint8]], least: int) -> int:
    """Runs full batches until there are as many images as in a part."""
    batches = -(-least // len(ready[0]))
    for number in range(batches):
        predictor.backend.run(ready[number % len(ready)])
    return batches * len(ready[0])


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    images = work()
    return images / (time.perf_counter() - start)


def print_report(report: PredictReport) -> None:
    """Prints a report to stdout.

    Args:
        report: What was measured.
    """
    memory = [
        "not known" if value is None else f"{value:,.0f} MB"
        for value in (report.memory_first_part_mb, report.memory_all_mb)
    ]
    console = Console()
    for line in (
        f"{report.bundle}, level {report.level}, {report.backend}; {report.machine}",
        f"{report.images} photographs ({report.photographs}) in batches of {report.batch_size}; "
        f"written: {', '.join((*report.saved, 'tables'))}",
        f"predict: {report.predict_images_per_s:.2f} photographs/s, {report.ratio:.0%} of inference alone "
        f"({report.inference_images_per_s:.2f}/s), medians of {PARTS} parts in alternation",
        f"resident memory: {memory[0]} after a fifth, {memory[1]} after all",
        f"first result {report.first_result_s:.2f} s after the command's start, median of {report.starts}",
    ):
        console.print(Text(line), soft_wrap=True)


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    images: Annotated[Path, typer.Option(help="Folder of photographs.")],
    count: Annotated[int | None, typer.Option(min=1, help="Photographs; the folder's if left out.")] = None,
    level: Annotated[Literal["classify", "cam", "full"], typer.Option(help="How much is computed.")] = "full",
    device: Annotated[str, typer.Option(help="As for predict.")] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16", "int8"], typer.Option(help="As for predict.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per pass.")] = 8,
    starts: Annotated[int, typer.Option(min=1, help="How often the command is started.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Measure what predict adds to inference: throughput, memory, time to the first result."""
    share_cores()  # as the command does
    try:
        with Console(stderr=True).status("loading the model") as status:
            report = measure_predict(
                Bundle.open(bundle),
                images,
                count=count,
                level=level,
                device=device,
                precision=precision,
                batch_size=batch_size,
                starts=starts,
                report=status.update,
            )
    except BiounetEdgeError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)


if __name__ == "__main__":
    typer.run(main)
