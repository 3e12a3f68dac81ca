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
    from biounet_edge.benchmark.figures import BenchmarkFigures


def benchmark(
    bundle: BundleArgument = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of photographs (default: the bundle's golden images)."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Photographs to take from that folder, at most.")
    ] = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    level: LevelOption = "full",
    batch_size: BatchSizeOption = 8,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds; each measures every stage.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure each stage and the whole run, and compare the inference with the machine's peak."""
    from rich.console import Console

    from biounet_edge.benchmark.measurement import benchmark as run_benchmark
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.cli.process import share_cores, silence_decoders

    silence_decoders()
    share_cores()  # as predict does
    with Console(stderr=True).status("loading the model") as status:
        figures = run_benchmark(
            Bundle.open(bundle),
            images=images,
            device=device,
            precision=precision,
            level=level,
            batch_size=batch_size,
            rounds=rounds,
            limit=limit,
            tell=status.update,
        )
    if as_json:
        print_json(figures.to_dict())
    else:
        print_benchmark(figures)


def print_benchmark(figures: "BenchmarkFigures") -> None:
    """Print a benchmark to stdout.

    Args:
        figures: What `benchmark` measured.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    saved = ", ".join((*figures.saved, "tables"))
    facts = (
        f"{figures.bundle}, level {figures.level}, {figures.device} in {figures.precision} "
        f"({figures.backend})",
        figures.processor,
        f"{figures.images_per_round} photographs per round ({figures.photographs}), batches of "
        f"{figures.batch_size}, {figures.rounds} rounds, written: {saved}",
    )
    for fact in facts:
        console.print(Text(fact), soft_wrap=True)
    table = Table("Stage", "A call is", box=box.SIMPLE_HEAD)
    for title in ("p50 ms", "p90 ms", "Photographs/s"):
        table.add_column(title, justify="right")
    for stage in (*figures.stages, figures.end_to_end):
        if stage is figures.end_to_end:
            table.add_section()
        cells = (f"{stage.p50_ms:,.2f}", f"{stage.p90_ms:,.2f}", f"{stage.images_per_s:,.1f}")
        table.add_row(stage.name, stage.call, *cells)
    console.print(table)
    console.print(Text(_describe_peak(figures)), soft_wrap=True)


def _describe_peak(figures: "BenchmarkFigures") -> str:
    """One sentence on the arithmetic, which says what is not known."""
    rate, peak = figures.inference_gflops_per_s, figures.peak_gflops_per_s
    if rate is None:
        reached = "Inference: GFLOP/s unknown, the bundle does not give its graph's operation count"
    else:
        reached = f"Inference: {figures.gflops_per_image:,.2f} GFLOP per photograph, {rate:,.1f} GFLOP/s"
    if peak is None:
        return f"{reached}. Peak: {figures.peak_method}."
    text = f"Peak: {peak:,.1f} GFLOP/s in {figures.precision} ({figures.peak_method})."
    if figures.peak_fraction is None:
        return f"{reached}. {text}"
    if figures.peak_fraction > 1:
        text += " Something else kept the machine busy while the peak was measured: repeat with more rounds."
    return f"{reached}, {figures.peak_fraction:.0%} of the peak. {text}"
