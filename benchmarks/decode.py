"""`python -m benchmarks.decode [PHOTOGRAPH]`: a 24-megapixel JPEG from its file to the network's input.

Two ways in alternation, both with reading the file and seeing that all of it is there: every pixel decoded
and then resized, and what `biounet_edge.photographs.decoding.read_input` does. The JPEG is made of one
photograph, enlarged, with a sensor's noise on it: without noise it would have a fifth of the bytes that a
camera writes, and most of a camera's decoding time goes by bytes.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.machine import Machine, describe_machine
from biounet_edge.cli.console import print_json
from biounet_edge.errors import BiounetEdgeError
from biounet_edge.photographs.decoding import decode, read_input, reduction, resize_to_input
from biounet_edge.photographs.header import read_header

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "ISIC_0000166.jpg"
"""What the JPEG is made of where no photograph is given."""

SIZE = (4000, 6000)
"""Height and width of the JPEG in pixels."""

NOISE = 8
"""Standard deviation of the noise in grey levels, and QUALITY of the JPEG: together 7 MB."""
QUALITY = 92


@dataclass(frozen=True)
class DecodeReport:
    """What was measured."""

    machine: Machine
    """Processor, threads, versions."""
    photograph: str
    """What the JPEG was made of."""
    size: tuple[int, int]
    """Height and width of the JPEG in pixels."""
    file_bytes: int
    """Size of the JPEG."""
    input_px: int
    """Height and width of the network's input."""
    reduction: int
    """What the sides were divided by while decoding."""
    rounds: int
    """How often each way ran."""
    full_ms: float
    """Every pixel decoded, then resized: median."""
    reduced_ms: float
    """`read_input`: median."""
    ratio: float
    """Full divided by reduced, median over the rounds: above 1 is faster."""
    largest_difference: int
    """Between the pixels of the two ways, in grey levels."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def measure_decode(
    photograph: Path, *, input_px: int = 512, rounds: int = 15, size: tuple[int, int] = SIZE
) -> DecodeReport:
    """Times both ways on one JPEG.

    Args:
        photograph: Image file to make the JPEG of.
        input_px: Height and width of the network's input.
        rounds: How often each way runs.
        size: Height and width of the JPEG in pixels.

    Returns:
        What was measured.

    Raises:
        ImageError: If the photograph cannot be read.
    """

    def in_full() -> NDArray[np.uint8]:
        return resize_to_input(decode(path), input_px, input_px)

    def reduced() -> NDArray[np.uint8]:
        return read_input(path, input_px, input_px)

    content = _make_jpeg(decode(photograph), size)
    with tempfile.TemporaryDirectory(prefix="biounet-edge-decode-") as folder:
        path = Path(folder) / "photograph.jpg"
        path.write_bytes(content)
        difference = np.abs(in_full().astype(int) - reduced()).max()  # warms both up
        times = [(_milliseconds(in_full), _milliseconds(reduced)) for _ in range(rounds)]
    return DecodeReport(
        machine=describe_machine(cv2.getNumThreads()),
        photograph=photograph.name,
        size=size,
        file_bytes=len(content),
        input_px=input_px,
        reduction=reduction(read_header(content), input_px, input_px),
        rounds=rounds,
        full_ms=median(full for full, _ in times),
        reduced_ms=median(reduced for _, reduced in times),
        ratio=median(full / reduced for full, reduced in times),
        largest_difference=int(difference),
    )


def _make_jpeg(image: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    height, width = size
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    tile = np.random.default_rng(0).normal(0, NOISE, (512, 512, 3)).astype(np.int16)
    noise = np.tile(tile, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    noisy = cv2.add(cv2.cvtColor(large, cv2.COLOR_RGB2BGR), noise, dtype=cv2.CV_8U)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def main(
    photograph: Annotated[Path, typer.Argument(help="Image to make the JPEG of.")] = SAMPLE,
    input_px: Annotated[int, typer.Option(min=1, help="Height and width of the network's input.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way runs.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Time a 24-megapixel JPEG from its file to the network's input."""
    try:
        report = measure_decode(photograph, input_px=input_px, rounds=rounds)
    except BiounetEdgeError as error:
        Console(stderr=True).print(f"error: {photograph}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        print_json(report.to_dict())
        return
    height, width = report.size
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{width} x {height} JPEG of {report.file_bytes / 1e6:.1f} MB to {input_px} x {input_px}")
    console.print(f"{report.machine}")
    console.print(
        f"in full {report.full_ms:.0f} ms, reduced to 1/{report.reduction} {report.reduced_ms:.0f} ms: "
        f"{report.ratio:.1f} times as fast (medians of {rounds}); pixels differ by at most "
        f"{report.largest_difference} grey levels"
    )


if __name__ == "__main__":
    typer.run(main)
