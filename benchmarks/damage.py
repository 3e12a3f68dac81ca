"""`python -m benchmarks.damage FOLDER`: how many damaged files are read as if they were whole.

Each photograph is written in each format, and a sector of 4 KiB at a place drawn at random, but not in the
first or last tenth of the file, is filled with zeros, as a failing disk or a broken copy leaves it. What
counts is whether `biounet_edge.photographs.decoding.decode` rejects the file.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from pillow_heif import from_pillow
from rich.console import Console
from rich.table import Table

from biounet_edge.cli.console import print_json
from biounet_edge.errors import BiounetEdgeError, ImageError
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.discovery import discover
from biounet_edge.photographs.file import read_file

SECTOR_BYTES = 4096
"""What is zeroed."""


@dataclass(frozen=True)
class DamageReport:
    """What became of the damaged files of one kind."""

    kind: str
    """Format and compression."""
    files: int
    """Damaged files."""
    accepted: int
    """Those that were read as if they were whole."""


def _saved(form: str, **options: Any) -> Callable[[NDArray[np.uint8]], bytes]:
    def save(pixels: NDArray[np.uint8]) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form, **options)
        return file.getvalue()

    return save


def _heic(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    from_pillow(Image.fromarray(pixels)).save(file, quality=90)
    return file.getvalue()


KINDS: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "JPEG, quality 95": _saved("JPEG", quality=95),
    "JPEG, quality 75": _saved("JPEG", quality=75),
    "JPEG, progressive": _saved("JPEG", quality=90, progressive=True),
    "JPEG, restart markers": _saved("JPEG", quality=90, restart_marker_rows=1),
    "PNG": _saved("PNG"),
    "TIFF, deflate": _saved("TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW": _saved("TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": _saved("TIFF", compression="jpeg", quality=90),
    "TIFF, PackBits": _saved("TIFF", compression="packbits"),
    "TIFF, uncompressed": _saved("TIFF"),
    "BMP": _saved("BMP"),
    "WebP, quality 90": _saved("WEBP", quality=90),
    "WebP, lossless": _saved("WEBP", lossless=True, quality=30),
    "HEIC, quality 90": _heic,
    "AVIF, quality 90": _saved("AVIF", quality=90),
}
"""How each kind of file is made of RGB pixels."""


def measure_damage(folder: Path, *, tries: int = 5, seed: int = 0) -> list[DamageReport]:
    """Damage files of every kind and try to read them.

    Args:
        folder: Photographs.
        tries: Damaged files per photograph and kind.
        seed: Of the places.

    Returns:
        One row per kind, the photographs' own files first.

    Raises:
        ImageError: If a photograph cannot be read.
        InputError: If the folder holds none.
    """
    rng = np.random.default_rng(seed)
    paths = [image.path for image in discover([folder])]
    photographs = [decode(path) for path in paths]
    contents = {"the photographs' own files": [read_file(path) for path in paths]}
    reports = []
    for kind in (*contents, *KINDS):
        files = contents.get(kind) or [KINDS[kind](pixels) for pixels in photographs]
        damaged = [_damaged(file, rng) for file in files for _ in range(tries)]
        reports.append(DamageReport(kind, len(damaged), sum(map(_is_read, damaged))))
    return reports


def _damaged(file: bytes, rng: np.random.Generator) -> bytes:
    first = len(file) // 10
    start = int(rng.integers(first, max(first + 1, len(file) - first - SECTOR_BYTES)))
    return file[:start] + bytes(min(SECTOR_BYTES, len(file) - start)) + file[start + SECTOR_BYTES :]


def _is_read(file: bytes) -> bool:
    try:
        decode(file)
    except ImageError:
        return False
    return True


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    tries: Annotated[int, typer.Option(min=1, help="Damaged files per photograph and kind.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count the damaged files that are read as if they were whole."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        reports = measure_damage(folder, tries=tries)
    except BiounetEdgeError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        for report in reports:
            print_json(asdict(report), indent=None)
        return
    table = Table("kind of file", "damaged", "read", "rate")
    for report in reports:
        rate = f"{report.accepted / report.files:.0%}"
        table.add_row(report.kind, str(report.files), str(report.accepted), rate)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    typer.run(main)
