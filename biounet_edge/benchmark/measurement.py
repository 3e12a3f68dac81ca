"""Measures what predictions take on this machine, stage by stage and end to end.

Each round measures each stage once, in turn and on the same photographs, and the machine's peak with them: a
machine that becomes slower or faster meanwhile does so for all of them.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from biounet_edge.backends.processor import processor_name, usable_threads
from biounet_edge.benchmark.figures import BenchmarkFigures
from biounet_edge.benchmark.peak import PeakMeter
from biounet_edge.benchmark.workload import Recorder, Workload, fill, photographs
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.errors import BackendUnavailableError, InputError
from biounet_edge.predictor import Predictor
from biounet_edge.results.kinds import parse_save

LIMIT = 32
"""Photographs that are read of a folder, if not told otherwise."""


def benchmark(
    bundle: Bundle,
    *,
    images: Path | None = None,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    level: Level = "full",
    batch_size: int = 8,
    rounds: int = 5,
    limit: int = LIMIT,
    tell: Callable[[str], None] = lambda line: None,
) -> BenchmarkFigures:
    """Measure every stage of prediction, and all of them together.

    Args:
        bundle: The opened bundle.
        images: Folder of photographs, or one photograph; None for the bundle's golden images as JPEG files.
        device: Where, as in `open_backend`.
        precision: Number format to compute in, as in `open_backend`.
        level: How much is computed.
        batch_size: Photographs that the backend computes at once.
        rounds: How often each stage is measured.
        limit: Photographs that are read of the folder at most. They are repeated until there are full
            batches, and two of them at least.
        tell: Called with a line about what is being measured.

    Returns:
        Latencies, throughputs, and the part of the machine's measured peak that inference reached.

    Raises:
        InputError: If there are no such photographs, or a number is below 1.
        ImageError: If a photograph cannot be read.
        BackendUnavailableError: If the device or its library is not there.
        OutputError: If the temporary folder cannot be written to.
    """
    for name, value in {"batch_size": batch_size, "rounds": rounds, "limit": limit}.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    kinds = parse_save(None, level)
    with (
        photographs(bundle, images, limit) as (found, description),
        Predictor(
            bundle, device=device, precision=precision, level=level, accept_unfamiliar=True
        ) as predictor,
        tempfile.TemporaryDirectory(prefix="biounet-edge-benchmark-") as output,
    ):
        workload = Workload(predictor, fill(found, batch_size), batch_size, kinds, Path(output))
        tell("warming up")
        replace(workload, images=workload.images[:batch_size]).run(Recorder())
        meter, reason = _open_peak(predictor)
        recorder = Recorder()
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            recorder.start_round()
            workload.run(recorder)
            if meter is not None:
                meter.measure()
        stages, end_to_end = workload.summarise(recorder)
        backend = predictor.backend
        return BenchmarkFigures(
            bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
            checksum=bundle.checksum,
            level=level,
            device=backend.device,
            precision=backend.precision,
            backend=backend.description,
            processor=f"{processor_name()}, {usable_threads()} threads",
            batch_size=batch_size,
            photographs=description,
            images_per_round=len(workload.images),
            rounds=rounds,
            saved=kinds,
            stages=stages,
            end_to_end=end_to_end,
            gflops_per_image=bundle.manifest.levels[level].gflops,
            peak_gflops_per_s=None if meter is None else meter.gflops_per_s,
            peak_method=reason if meter is None else meter.method,
        )


def _open_peak(predictor: Predictor) -> tuple[PeakMeter | None, str]:
    """Return a meter for the predictor's device and precision, or the reason why there is none."""
    backend = predictor.backend
    try:
        return PeakMeter(backend.device, backend.precision), ""
    except BackendUnavailableError as error:
        return None, str(error)
