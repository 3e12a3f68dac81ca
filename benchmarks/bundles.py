"""`python -m benchmarks.bundles BUNDLE BUNDLE ...`: the same photographs through several bundles, in turns.

Each round reads and predicts all photographs with every bundle, without writing results. Machines are noisy:
the ratio to the first bundle is taken within each round.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import typer

from benchmarks.machine import describe_machine
from biounet_edge.backends.processor import usable_threads
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.errors import BiounetEdgeError, InputError
from biounet_edge.photographs.discovery import discover
from biounet_edge.prediction import PredictionFailure
from biounet_edge.predictor import Predictor


@dataclass(frozen=True)
class BundleRate:
    """How fast one bundle is."""

    bundle: str
    """Folder, model and version."""
    backend: str
    """Device, number format, library and version."""
    images_per_s: float
    """Photographs read and predicted: median over the rounds."""
    ratio: float
    """Times as fast as the first bundle: median over the rounds."""


def measure_bundles(
    bundles: list[Path],
    images: Path,
    *,
    level: Level = "full",
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    batch_size: int = 8,
    rounds: int = 5,
) -> list[BundleRate]:
    """Measure bundles in alternation.

    Args:
        bundles: Their folders; the first is what the others are compared with.
        images: Folder of photographs.
        level: How much is computed.
        device: As in `open_backend`.
        precision: As in `open_backend`.
        batch_size: Photographs that the backend computes at once.
        rounds: How often each bundle is measured; one more round warms up.

    Raises:
        InputError: If a photograph cannot be read.
    """
    paths = [found.path for found in discover([images])]
    with ExitStack() as stack:
        predictors = [
            stack.enter_context(Predictor(bundle, device=device, precision=precision, level=level))
            for bundle in bundles
        ]
        described = [_describe(predictor) for predictor in predictors]
        seconds = [
            [_predict(predictor, paths, batch_size) for predictor in predictors] for _ in range(rounds + 1)
        ][1:]
    return [
        BundleRate(
            f"{bundles[place]} ({model})",
            backend,
            median(len(paths) / times[place] for times in seconds),
            median(times[0] / times[place] for times in seconds),
        )
        for place, (model, backend) in enumerate(described)
    ]


def _describe(predictor: Predictor) -> tuple[str, str]:
    manifest, backend = predictor.bundle.manifest, predictor.backend
    return (
        f"{manifest.name} {manifest.version}",
        f"{backend.device} in {backend.precision} ({backend.description})",
    )


def _predict(predictor: Predictor, paths: list[Path], batch_size: int) -> float:
    began = time.perf_counter()
    for outcome in predictor.stream(paths, batch_size=batch_size):
        if isinstance(outcome, PredictionFailure):
            raise InputError(f"{outcome.source}: {outcome.error}; remove this photograph from the benchmark")
    return time.perf_counter() - began


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders; the first is compared with.")],
    images: Annotated[Path, typer.Option(help="Folder of photographs.")],
    level: Annotated[Literal["classify", "cam", "full"], typer.Option(help="How much is computed.")] = "full",
    device: Annotated[str, typer.Option(help="As for predict.")] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16", "int8"], typer.Option(help="As for predict.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per pass.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each bundle is measured.")] = 5,
) -> None:
    """Compare the throughput of bundles, in alternation."""
    try:
        rates = measure_bundles(
            bundles,
            images,
            level=level,
            device=device,
            precision=precision,
            batch_size=batch_size,
            rounds=rounds,
        )
    except BiounetEdgeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"level {level}, batches of {batch_size}, {describe_machine(usable_threads())}")
    for rate in rates:
        typer.echo(
            f"{rate.bundle}: {rate.images_per_s:.2f} photographs/s, {rate.ratio:.2f} times the first; "
            f"{rate.backend}"
        )


if __name__ == "__main__":
    typer.run(main)
