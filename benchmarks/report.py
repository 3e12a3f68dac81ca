"""`python -m benchmarks.report FOLDER [--count N]`: what the HTML report of a run costs.

The photographs are predicted once; their predictions are written over and over until the run has as many as
asked for, so that nothing but the report is measured.
"""

import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.console import Console

from benchmarks.machine import Machine, describe_machine
from biounet_edge import InputError, Prediction, Predictor
from biounet_edge.cli.console import print_json, say
from biounet_edge.cli.process import share_cores
from biounet_edge.errors import BiounetEdgeError
from biounet_edge.photographs.discovery import InputImage, discover
from biounet_edge.results.html import REPORT_NAME, ReportWriter
from biounet_edge.results.html.entry import PICTURE_PX


@dataclass(frozen=True)
class ReportCost:
    """What was measured."""

    machine: Machine
    """Processor, threads, versions."""
    photographs: int
    """Different photographs."""
    count: int
    """Photographs in the report."""
    write_ms: float
    """Time to write one photograph."""
    finish_ms: float
    """Time to put the page together at the end."""
    page_bytes: int
    """Size of the page for each photograph."""
    beside_bytes: int
    """Size of the picture beside the page for each photograph."""
    growth_mb: float
    """Memory that the second half of the run took beyond the first, in MB, by the process's largest size."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def measure_report(folder: Path, count: int) -> ReportCost:
    """Writes a report of many photographs into a temporary folder.

    Args:
        folder: Photographs.
        count: How many the report is to have.

    Returns:
        What was measured.

    Raises:
        InputError: If there is no photograph in the folder that can be read.
    """
    images = discover([folder])
    with Predictor(device="cpu") as predictor, tempfile.TemporaryDirectory() as output:
        outcomes = list(predictor.stream((image.path for image in images), preview_px=PICTURE_PX))
        predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        if not predictions:
            raise InputError(f"no photograph in {folder} can be read")
        report = ReportWriter(Path(output), predictor.bundle, predictor.level, predictor.selection, count)
        peaks_mb = []
        with report:
            start = time.perf_counter()
            for i, prediction in enumerate(islice(cycle(predictions), count)):
                report.write(InputImage(Path(prediction.source), str(i)), prediction)
                if i in (count // 2, count - 1):
                    peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            written = time.perf_counter()
        finished = time.perf_counter()
        beside = sum(path.stat().st_size for path in Path(output).glob("report/*"))
        return ReportCost(
            machine=describe_machine(cv2.getNumThreads()),
            photographs=len(predictions),
            count=count,
            write_ms=1e3 * (written - start) / count,
            finish_ms=1e3 * (finished - written),
            page_bytes=(Path(output) / REPORT_NAME).stat().st_size // count,
            beside_bytes=beside // count,
            growth_mb=peaks_mb[-1] - peaks_mb[0],
        )


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    count: Annotated[int, typer.Option(min=1, help="Photographs in the report.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Measure what the HTML report of a run costs."""
    share_cores()
    try:
        cost = measure_report(folder, count)
    except BiounetEdgeError as error:
        say(f"error: {error}", style="red")
        raise typer.Exit(1) from error
    if as_json:
        print_json(cost.to_dict())
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{cost.machine}")
    console.print(
        f"{cost.count} photographs, {cost.photographs} of them different: {cost.write_ms:.1f} ms each and "
        f"{cost.finish_ms:.0f} ms at the end; {cost.page_bytes:,} bytes each in the page, "
        f"{cost.beside_bytes:,} beside it; {cost.growth_mb:.1f} MB more memory in the second half"
    )


if __name__ == "__main__":
    typer.run(main)
