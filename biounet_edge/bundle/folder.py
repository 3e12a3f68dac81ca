"""A bundle on disk: one model with all that is needed to run, explain and verify it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from biounet_edge.bundle.golden import GoldenOutputs, read_golden
from biounet_edge.bundle.manifest import FileSpec, GraphPrecision, Level, Manifest, parse_manifest
from biounet_edge.errors import BundleNotFoundError, InputError, IntegrityError, ManifestError

MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
WEIGHTS_NAME = "weights.bin"
"""External data of every graph."""
COMPILED_NAME = "compiled"
"""Subfolder for what is compiled on this machine; no file of the manifest is in it."""

MAX_MANIFEST_BYTES = 4 * 1024**2
"""Largest manifest that is read, in bytes; exported ones have some kilobytes."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was understood and whose files are the ones it names."""

    folder: Path
    """The folder of its manifest."""
    manifest: Manifest
    """What its model assumes."""
    checksum: str
    """SHA-256 of manifest.json, which holds the checksum of every other file: identifies the bundle."""

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Self:
        """Open a bundle and check every file against its SHA-256.

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
        """Find the graph that computes a level.

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
        """Find the graph of a component.

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
        """Read the golden inputs and outputs.

        Returns:
            Inputs and PyTorch's outputs.

        Raises:
            IntegrityError: If they are missing or damaged.
        """
        if GOLDEN_NAME not in self.manifest.files:
            raise IntegrityError(f"the bundle at {self.folder} has no {GOLDEN_NAME} to verify against")
        return read_golden(self.folder / GOLDEN_NAME)


def graph_file(name: str, precision: GraphPrecision = "float32") -> str:
    """Name the file of a graph.

    Args:
        name: A level or a component.
        precision: Number format that the graph computes in.

    Returns:
        Its file name in a bundle: `full.onnx` in float32, `full_float16.onnx` in another precision.
    """
    return f"{name}.onnx" if precision == "float32" else f"{name}_{precision}.onnx"


def default_bundle() -> Path:
    """Find the demo bundle: inside an installed package, or beside it in a source checkout.

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
