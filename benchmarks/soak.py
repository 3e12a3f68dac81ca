"""`python -m benchmarks.soak`: does a long run hold more and more memory?

Streams many small JPEGs through the whole of `biounet-edge predict` (decoding, the demo model at level
classify, tables and journal) and reads the resident memory after a tenth of them, when everything that is
kept for the whole run has been made, and at the end. A few files are read over and over under names of their
own. What may grow is a place in the journal for each image, some 0.3 kB.
"""

import gc
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import typer

from benchmarks.machine import Machine, describe_machine
from benchmarks.processes import resident_mb
from biounet_edge import BiounetEdgeError, Predictor
from biounet_edge.backends.processor import usable_threads
from biounet_edge.cli.process import share_cores
from biounet_edge.photographs.decoding import decode, resize_to_input
from biounet_edge.photographs.discovery import InputImage, discover
from biounet_edge.runs.folder import RunOptions, run_folder

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HEIGHT, WIDTH = 192, 256
"""Size of the JPEGs in pixels."""


@dataclass(frozen=True)
class SoakReport:
    """What was measured."""

    machine: Machine
    """Processor, threads, versions."""
    backend: str
    """Library and number format."""
    images: int
    """Images that were read."""
    tenth_mb: float
    """Resident memory after a tenth of them, in MB of 10^6 bytes."""
    end_mb: float
    """Resident memory after the last."""
    grown_pct: float
    """By how much the second is larger, in percent."""
    images_per_s: float
    """All of it: decoding, inference, tables, journal."""


def measure(images: int, device: str, batch_size: int) -> SoakReport:
    """Streams images and reads the resident memory twice.

    Args:
        images: How many; at least 10.
        device: As for `Predictor`.
        batch_size: Images that the backend computes at once.

    Returns:
        The report.
    """
    share_cores()
    with (
        tempfile.TemporaryDirectory(prefix="biounet-edge-soak-") as folder,
        Predictor(device=device, level="classify") as predictor,
    ):
        files = _small_jpegs(Path(folder) / "images")
        found = [InputImage(files[i % len(files)], f"{i:06}") for i in range(images)]
        output, options = Path(folder) / "out", RunOptions(batch_size=batch_size)
        start, sizes = time.perf_counter(), {}
        for done, item in enumerate(run_folder(predictor, found, output, options), start=1):
            if "error" in item.outcome.to_dict():
                raise AssertionError(f"{item.outcome.source} could not be read")
            if done in (images // 10, images):
                gc.collect()
                sizes[done] = resident_mb() or float("nan")
        seconds = time.perf_counter() - start
        return SoakReport(
            machine=describe_machine(usable_threads()),
            backend=predictor.selection,
            images=images,
            tenth_mb=round(sizes[images // 10], 1),
            end_mb=round(sizes[images], 1),
            grown_pct=round(100 * (sizes[images] / sizes[images // 10] - 1), 1),
            images_per_s=round(images / seconds, 1),
        )


def _small_jpegs(folder: Path) -> list[Path]:
    """Makes small files of the samples."""
    folder.mkdir()
    paths = []
    for image in discover([SAMPLES]):
        paths.append(folder / f"{image.stem}.jpg")
        pixels = resize_to_input(decode(image.path), HEIGHT, WIDTH)
        cv2.imwrite(str(paths[-1]), pixels[..., ::-1])
    return paths


def main(
    images: Annotated[int, typer.Option("--images", min=10, help="How many images to stream.")] = 20_000,
    device: Annotated[str, typer.Option("--device", help="As for biounet-edge predict.")] = "cpu",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images per pass.")] = 8,
) -> None:
    """Stream many small JPEGs and print the resident memory, as JSON."""
    try:
        report = measure(images, device, batch_size)
    except BiounetEdgeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(asdict(report), indent=2))


if __name__ == "__main__":
    typer.run(main)
