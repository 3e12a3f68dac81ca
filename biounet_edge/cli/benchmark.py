"""`biounet-edge benchmark`: what predictions take on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biounet_edge.cli.console import print_json
from biounet_edge.cli.options import (
    BatchSizeOption,
    BundleArgument,
    DeviceOption,
    JsonOption,
    LevelOption,
    PrecisionOption,
)

if TYPE_CHECKING:
    from biounet_edge.benchmark.report import BenchmarkReport


def benchmark(
    bundle: BundleArgument = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of photographs; the bundle's golden images if left out."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Photographs of that folder at most.")] = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    level: LevelOption = "full",
    batch_size: BatchSizeOption = 8,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each stage is measured.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and throughput of each stage, of all together, and against the machine's peak."""
    from rich.console import Console

    from biounet_edge.benchmark.measurement import benchmark as run_benchmark
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.cli.process import share_cores, silence_decoders

    silence_decoders()
    share_cores()  # as predict does
    with Console(stderr=True).status("loading the model") as status:
        report = run_benchmark(
            Bundle.open(bundle),
            images=images,
            device=device,
            precision=precision,
            level=level,
            batch_size=batch_size,
            rounds=rounds,
            limit=limit,
            report=status.update,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_benchmark(report)


def print_benchmark(report: "BenchmarkReport") -> None:
    """Prints a benchmark to stdout.

    Args:
        report: What `benchmark` measured.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    saved = ", ".join((*report.saved, "tables"))
    facts = (
        f"{report.bundle}, level {report.level}, {report.device} in {report.precision} ({report.backend})",
        report.processor,
        f"{report.images_per_round} photographs a round ({report.photographs}), batches of "
        f"{report.batch_size}, {report.rounds} rounds, written: {saved}",
    )
    for fact in facts:
        console.print(Text(fact), soft_wrap=True)
    table = Table("Stage", "A call is", box=box.SIMPLE_HEAD)
    for title in ("p50 ms", "p90 ms", "Photographs/s"):
        table.add_column(title, justify="right")
    for stage in (*report.stages, report.end_to_end):
        if stage is report.end_to_end:
            table.add_section()
        figures = (f"{stage.p50_ms:,.2f}", f"{stage.p90_ms:,.2f}", f"{stage.images_per_s:,.1f}")
        table.add_row(stage.name, stage.call, *figures)
    console.print(table)
    console.print(Text(_describe_peak(report)), soft_wrap=True)


def _describe_peak(report: "BenchmarkReport") -> str:
    """One sentence on the arithmetic, which says what is not known."""
    rate, peak = report.inference_gflops_per_s, report.peak_gflops_per_s
    if rate is None:
        reached = "Inference: GFLOP/s not known, because the bundle does not say what its graph computes"
    else:
        reached = f"Inference: {report.gflops_per_image:,.2f} GFLOP a photograph, {rate:,.1f} GFLOP/s"
    if peak is None:
        return f"{reached}. Peak: {report.peak_method}."
    text = f"Peak: {peak:,.1f} GFLOP/s in {report.precision} ({report.peak_method})."
    if report.peak_fraction is None:
        return f"{reached}. {text}"
    if report.peak_fraction > 1:
        text += " Something else kept the machine busy while the peak was measured: repeat with more rounds."
    return f"{reached}, {report.peak_fraction:.0%} of the peak. {text}"
