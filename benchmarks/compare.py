"""`python -m benchmarks.compare BUNDLE`: this project's backends against PyTorch, on the same weights.

The bundle's own weights go back into PyTorch, so that all sides compute the same function of the same images;
they run in one process and in alternation, because a machine's speed changes from minute to minute and only
ratios mean something.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.comparison import Comparison, Row, compare, not_opened
from benchmarks.machine import describe_machine
from benchmarks.sides import BASELINE, SIDES, open_side
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level
from biounet_edge.cli.console import print_json
from biounet_edge.errors import BiounetEdgeError, InputError
from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.discovery import discover
from export.restore import restore_model
from train.flops import count


def run_comparison(
    bundle: Bundle,
    *,
    names: tuple[str, ...],
    images: Path | None = None,
    level: Level = "full",
    batch_size: int = 1,
    rounds: int = 5,
    threads: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compares sides on a bundle.

    Args:
        bundle: The opened bundle.
        names: Of `SIDES`; the baseline is always among them.
        images: Folder of photographs; None for the bundle's golden images.
        level: How much is computed.
        batch_size: Images of a call.
        rounds: How often each side runs.
        threads: Threads that PyTorch computes on; None for its default, which is one for each core, as it is
            for ONNX Runtime and OpenVINO.
        report: Called with a line about what is being measured.

    Returns:
        The comparison.

    Raises:
        InputError: If there is no such side or photograph, or a number is below 1.
        ImageError: If a photograph cannot be read.
    """
    if unknown := [name for name in names if name not in SIDES]:
        raise InputError(f"there is no side {', '.join(unknown)}: choose from {', '.join(SIDES)}")
    if batch_size < 1 or rounds < 1:
        raise InputError(f"batch size and rounds must be at least 1, got {batch_size} and {rounds}")
    torch.set_num_threads(threads or torch.get_num_threads())
    cv2.setNumThreads(torch.get_num_threads())  # pytorch-grad-cam resizes with OpenCV
    pixels, photographs = _read(bundle, images, batch_size * rounds)
    order = np.arange(batch_size * rounds).reshape(rounds, batch_size) % len(pixels)
    model, _ = restore_model(bundle)
    sides, rows = [], {}
    for name in dict.fromkeys((BASELINE, *names)):
        try:
            sides.append(open_side(name, bundle, model, level))
        except (BiounetEdgeError, ImportError) as error:
            rows[name] = not_opened(name, str(error))
    gflops = count(lambda: sides[0].answer(pixels[:1]))
    batches = [pixels[chosen] for chosen in order]
    measured, peaks = compare(sides, batches, bundle.manifest, gflops, report)
    rows |= {row.side: row for row in measured}
    return Comparison(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        level=level,
        image_size_px=bundle.manifest.input.height,
        photographs=photographs,
        batch_size=batch_size,
        rounds=rounds,
        gflops_per_image=gflops,
        machine=describe_machine(torch.get_num_threads()),
        peaks=peaks,
        rows=tuple(rows[name] for name in SIDES if name in rows),
    )


def _read(bundle: Bundle, images: Path | None, most: int) -> tuple[NDArray[np.uint8], str]:
    """Images at the input size, shape (K, H, W, 3), and what they are in words."""
    if images is None:
        golden = bundle.golden().image
        return golden, f"the bundle's {len(golden)} golden images"
    spec = bundle.manifest.input
    files = discover([images])[:most]
    return np.stack([read_input(file.path, spec.height, spec.width) for file in files]), (
        f"{len(files)} photographs of {images}"
    )


def print_comparison(comparison: Comparison) -> None:
    """Prints a comparison to stdout.

    Args:
        comparison: What was measured.
    """
    console = Console()
    size = comparison.image_size_px
    for fact in (
        f"{comparison.bundle}, level {comparison.level}, {size} x {size} pixels, batches of "
        f"{comparison.batch_size}, {comparison.rounds} rounds; {comparison.photographs}",
        str(comparison.machine),
        f"{comparison.gflops_per_image:,.2f} GFLOP an image. Peaks: "
        + "; ".join(f"{name} {rate:,.0f} GFLOP/s ({how})" for name, (rate, how) in comparison.peaks.items()),
    ):
        console.print(Text(fact), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Side", no_wrap=True)
    for title in ("s/image", "ratio", "of peak", "threads", "prob.", "heatmaps", "masks"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in comparison.rows:
        if row.problem is None:
            table.add_row(row.side, *_cells(row))
    console.print(table)
    console.print(
        "ratio: the baseline's time divided by this side's, median over the rounds. Against the baseline: "
        "largest difference of a probability, and of the worst indicator median correlation of heatmaps and "
        "intersection over union of masks.",
        soft_wrap=True,
        highlight=False,
    )
    for row in comparison.rows:
        fewer = "" if row.images_per_call in (None, comparison.batch_size) else ", on 1 image of each batch"
        outcome = f"NOT MEASURED: {row.problem}" if row.problem else f"{row.precision}{fewer}"
        console.print(Text(f"{row.side}: {row.description}; {outcome}"), soft_wrap=True)


def _cells(row: Row) -> list[str]:
    agreement = row.agreement
    assert agreement is not None, "what was measured was compared"
    correlations = [spread.median for spread in agreement.heatmap_correlation.values()]
    return [
        f"{row.seconds_per_image:.4f}",
        f"{row.ratio:.2f}",
        "-" if row.peak_fraction is None else f"{row.peak_fraction:.0%}",
        f"{row.threads_busy:.1f}",
        f"{agreement.probability_difference:.1e}",
        f"{min(correlations):.5f}" if correlations else "-",
        f"{min(agreement.mask_iou.values()):.4f}" if agreement.mask_iou else "-",
    ]


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    images: Annotated[Path | None, typer.Option(help="Photographs; the golden images if left out.")] = None,
    level: Annotated[Literal["classify", "cam", "full"], typer.Option(help="How much is computed.")] = "full",
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a call.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side runs, in alternation.")] = 5,
    side: Annotated[
        list[str] | None,
        typer.Option(help=f"May be repeated; all if left out: {', '.join(SIDES)}.", show_default=False),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="PyTorch's; its default if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare this project's backends with PyTorch on a bundle's weights."""
    try:
        with Console(stderr=True).status("loading the model") as status:
            comparison = run_comparison(
                Bundle.open(bundle),
                names=tuple(side or SIDES),
                images=images,
                level=level,
                batch_size=batch_size,
                rounds=rounds,
                threads=threads,
                report=status.update,
            )
    except BiounetEdgeError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison)


if __name__ == "__main__":
    typer.run(main)
