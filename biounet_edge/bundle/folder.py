"""A bundle on disk: one model with all that is needed to run, explain and verify it."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.manifest import FileSpec, GraphPrecision, Level, Manifest, parse_manifest
from biounet_edge.errors import BundleNotFoundError, InputError, IntegrityError, ManifestError

MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"

MAX_MANIFEST_BYTES = 4 * 1024**2
"""Largest manifest that is read, in bytes; exported ones have some kilobytes."""

MAX_GOLDEN_BYTES = 2 * 1024**3
"""Largest size of the golden arrays, unpacked, in bytes; at 1024 x 1024 pixels four images have 0.1 GB."""


@dataclass(frozen=True, slots=True)
class GoldenOutputs:
    """Inputs and what PyTorch computed from them when the bundle was exported."""

    image: NDArray[np.uint8]
    """Graph inputs, shape (G, H, W, 3), uint8 RGB."""
    outputs: dict[str, NDArray[np.float32]]
    """Reference per output name, first axis G, float32."""

    def first(self, count: int) -> "GoldenOutputs":
        """Takes the first images only.

        Args:
            count: How many.

        Returns:
            Their inputs and references.
        """
        return GoldenOutputs(
            self.image[:count], {name: array[:count] for name, array in self.outputs.items()}
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was understood and whose files are the ones it names."""

    folder: Path
    """Where it lies."""
    manifest: Manifest
    """What its model assumes."""
    checksum: str
    """SHA-256 of manifest.json, which holds the checksum of every other file: identifies the bundle."""

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Self:
        """Opens a bundle and checks every file against its SHA-256.

        Args:
            folder: Folder with a manifest.json; None for the demo bundle that comes with this package.

        Returns:
            The checked bundle.

        Raises:
            BundleNotFoundError: If there is no manifest.json in that folder.
            ManifestError: If the manifest is damaged or of a newer format.
            IntegrityError: If a file is missing or was changed.
        """
        folder = default_bundle() if folder is None else Path(folder)
        text = _read_manifest(folder)
        manifest = parse_manifest(text)
        for name, spec in manifest.files.items():
            _check_file(folder / name, spec)
        return cls(folder, manifest, hashlib.sha256(text).hexdigest())

    def graph(self, level: Level, precision: GraphPrecision = "float32") -> Path:
        """Finds the graph that computes a level.

        Args:
            level: How much is to be computed.
            precision: Number format that the graph computes in.

        Returns:
            Path of the ONNX file.

        Raises:
            InputError: If the bundle has no such level, or not in that precision.
        """
        if level not in self.manifest.levels:
            levels = ", ".join(self.manifest.levels)
            raise InputError(
                f"the bundle {self.manifest.name} has no level {level!r}: choose one of {levels}"
            )
        graphs = self.manifest.levels[level].graphs
        if precision not in graphs:
            raise InputError(
                f"the bundle {self.manifest.name} has level {level} in {', '.join(graphs)} and not in "
                f"{precision}: choose one of these, or export it with --precision {precision}"
            )
        return self.folder / graphs[precision]

    def component(self, name: str, precision: GraphPrecision = "float32") -> Path:
        """Finds the graph of a component.

        Args:
            name: Such as "encoder_streaks", "decoder_streaks" or "fusion".
            precision: Number format that the graph computes in.

        Returns:
            Path of the ONNX file.

        Raises:
            InputError: If the bundle has no such component, or not in that precision.
        """
        file = graph_file(name, precision)
        files = self.manifest.components.get(precision, [])
        if file not in files:
            raise InputError(
                f"the bundle {self.manifest.name} has no component {file}: expected one of "
                f"{', '.join(files) or 'none'}"
            )
        return self.folder / file

    def golden(self) -> GoldenOutputs:
        """Reads the golden inputs and outputs.

        Returns:
            Inputs and PyTorch's outputs.

        Raises:
            IntegrityError: If they are missing or damaged.
        """
        if GOLDEN_NAME not in self.manifest.files:
            raise IntegrityError(f"the bundle at {self.folder} has no {GOLDEN_NAME} to verify against")
        try:
            content = (self.folder / GOLDEN_NAME).read_bytes()
            _check_unpacked_size(content)
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                outputs = {name: arrays[name] for name in arrays.files}
            image = outputs.pop("image")
        except Exception as error:  # zip files, compressors and NumPy have some ten kinds of it
            raise IntegrityError(f"{self.folder / GOLDEN_NAME} is damaged: {error}") from error
        return GoldenOutputs(image, outputs)


def graph_file(name: str, precision: GraphPrecision = "float32") -> str:
    """Names the file of a graph.

    Args:
        name: A level or a component.
        precision: Number format that the graph computes in.

    Returns:
        Its file name in a bundle: `full.onnx` in float32, `full_float16.onnx` in another precision.
    """
    return f"{name}.onnx" if precision == "float32" else f"{name}_{precision}.onnx"


def default_bundle() -> Path:
    """Finds the demo bundle: inside an installed package, or beside it in a source checkout.

    Returns:
        Path of the folder.

    Raises:
        BundleNotFoundError: If neither place has one.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "engines" / "demo", package.parent / "engines" / "demo"):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    raise BundleNotFoundError(
        "the demo bundle is missing from this installation: reinstall biounet-edge, or name a bundle folder"
    )


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST_NAME
    try:
        if path.exists() and not path.is_file():  # a pipe would keep the program waiting
            raise OSError(0, "it is not a regular file")
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleNotFoundError(
            f"there is no bundle at {folder}: expected a folder with a {MANIFEST_NAME} ({error.strerror})"
        ) from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{path} is larger than any manifest: expected at most {MAX_MANIFEST_BYTES:,} bytes"
        )
    return text


def _check_file(path: Path, expected: FileSpec) -> None:
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is not a regular file")
        size_bytes = path.stat().st_size
        if size_bytes == expected.bytes:  # hashing one that grew to fill a disk would take hours
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IntegrityError(
            f"{path} belongs to the bundle and cannot be read ({error.strerror}): fetch the bundle again"
        ) from error
    if size_bytes != expected.bytes:
        raise IntegrityError(
            f"{path} is not the file that the bundle's manifest names ({size_bytes:,} bytes, expected "
            f"{expected.bytes:,}): fetch the bundle again"
        )
    if actual != expected.sha256:
        raise IntegrityError(
            f"{path} is not the file that the bundle's manifest names (SHA-256 {actual[:12]}..., expected "
            f"{expected.sha256[:12]}...): fetch the bundle again"
        )


def _check_unpacked_size(npz: bytes) -> None:
    """Refuses arrays that a few bytes unpack to; unpacking ends at the sizes that are looked at here."""
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        unpacked_bytes = sum(item.file_size for item in archive.infolist())
    if unpacked_bytes > MAX_GOLDEN_BYTES:
        raise ValueError(f"it unpacks to {unpacked_bytes:,} bytes, at most {MAX_GOLDEN_BYTES:,} are read")
