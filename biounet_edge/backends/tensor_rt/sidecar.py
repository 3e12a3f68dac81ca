"""What a compiled engine is, and what it was built for.

    <bundle>/compiled/full_float16.tensorrt.engine    what TensorRT wrote
    <bundle>/compiled/full_float16.tensorrt.json      the sidecar: for which GPU, library, graph and bundle

An engine belongs to one library version and one bundle; one of TensorRT to one GPU model and platform too,
one of TensorRT for RTX to the architectures it lists. engine_files.py reads and writes them.
"""

import platform
import shlex
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import GraphPrecision
from biounet_edge.errors import InputError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BatchProfile(NamedTuple):
    """Batch sizes that an engine is built for."""

    min: int
    """Smallest; a smaller batch is filled up to it."""
    opt: int
    """The one that kernels are chosen for."""
    max: int
    """Largest; a larger batch is split."""

    def __str__(self) -> str:
        return f"{self.min},{self.opt},{self.max}"


DEFAULT_PROFILE = BatchProfile(1, 8, 32)
"""One photograph at once, the batch of `Predictor.stream`, and room for more."""


class Sidecar(BaseModel):
    """What an engine was built for, and from what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    """Version of this file's format."""
    device: Literal["tensorrt", "tensorrt-rtx"]
    """Device of `biounet_edge.backends` that runs it."""
    library_version: str
    """Version of TensorRT or TensorRT for RTX."""
    platform: str | None
    """Operating system and processor; None where they do not matter."""
    gpu: str | None
    """GPU that it was built on; None where it was built ahead of time."""
    compute_capabilities: tuple[str, ...] = Field(min_length=1)
    """Architectures that it runs on."""
    cuda: str | None
    """CUDA version of the driver that it was built with; None where it was built ahead of time."""
    bundle: str
    """Name of the bundle's model."""
    bundle_checksum: Sha256
    """Of the bundle's manifest."""
    part: str
    """Level, or component, that it computes."""
    precision: GraphPrecision
    """Number format that it computes in."""
    graph: str
    """ONNX file that it was built from."""
    graph_sha256: Sha256
    """Of that file."""
    weights_sha256: Sha256
    """Of the bundle's weights.bin."""
    batch_profile: BatchProfile
    """Batch sizes."""
    engine_sha256: Sha256
    """Of the engine file."""
    engine_bytes: int = Field(gt=0)
    """Size of the engine file."""
    build_seconds: float = Field(ge=0)
    """How long building took."""


def parse_batch_profile(text: str) -> BatchProfile:
    """Read a batch profile.

    Args:
        text: Smallest, usual and largest batch with commas between them, such as "1,8,32".

    Returns:
        The profile.

    Raises:
        InputError: If it is not three whole numbers of 1 or more in ascending order.
    """
    try:
        profile = BatchProfile(*(int(part) for part in text.split(",")))
    except (TypeError, ValueError):
        profile = BatchProfile(0, 0, 0)
    if not 1 <= profile.min <= profile.opt <= profile.max:
        raise InputError(
            f"a batch profile is the smallest, the usual and the largest batch in ascending order from 1 on, "
            f"such as {DEFAULT_PROFILE}; got {text!r}"
        )
    return profile


def engine_path(folder: Path, graph: str, device: str) -> Path:
    """Return where an engine is kept.

    Args:
        folder: Folder of engines, usually `bundle.folder / COMPILED_NAME`.
        graph: File name of the ONNX graph.
        device: "tensorrt" or "tensorrt-rtx".

    Returns:
        Path of the engine; its sidecar has the extension .json instead.
    """
    return folder / f"{Path(graph).stem}.{device}.engine"


def this_platform(device: str) -> str | None:
    """Name the operating system and processor, where engines of a device depend on them.

    Args:
        device: "tensorrt" or "tensorrt-rtx"; engines of the latter run on Linux and Windows.

    Returns:
        Such as "Linux x86_64".
    """
    return None if device == "tensorrt-rtx" else f"{platform.system()} {platform.machine()}"


def build_command(
    bundle: Bundle, level: str, device: str, precision: str, profile: BatchProfile | None = None
) -> str:
    """Write the command that builds an engine for this machine.

    Args:
        bundle: The opened bundle.
        level: Level of the engine.
        device: "tensorrt" or "tensorrt-rtx".
        precision: Number format of the engine.
        profile: Batch sizes; None for the usual ones.

    Returns:
        The command line.
    """
    words = ["biounet-edge", "build", str(bundle.folder), "--device", device, "--level", level]
    words += ["--precision", precision]
    return shlex.join(words + (["--batch-profile", str(profile)] if profile else []))
