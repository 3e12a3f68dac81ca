"""golden.npz: a few graph inputs, and what PyTorch computed from them when the bundle was exported."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import IntegrityError

MAX_GOLDEN_BYTES = 2 * 1024**3
"""Largest size of the golden arrays, unpacked, in bytes; at 1024 x 1024 pixels four images have 0.1 GB."""


@dataclass(frozen=True, slots=True)
class GoldenOutputs:
    """Inputs and what PyTorch computed from them when the bundle was exported."""

    image: NDArray[np.uint8]
    """Graph inputs, shape (G, H, W, 3), uint8 RGB."""
    outputs: dict[str, NDArray[np.float32]]
    """Reference per output name, first axis G, float32."""

    def first(self, count: int) -> Self:
        """Return the first images with their references.

        Args:
            count: Number of images.

        Returns:
            A part of these, without a copy.
        """
        return type(self)(self.image[:count], {name: array[:count] for name, array in self.outputs.items()})


def read_golden(path: Path) -> GoldenOutputs:
    """Read the golden inputs and outputs.

    Args:
        path: The file of a bundle.

    Returns:
        Inputs and PyTorch's outputs.

    Raises:
        IntegrityError: If the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        _check_unpacked_size(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            outputs = {name: arrays[name] for name in arrays.files}
        image = outputs.pop("image")
    except Exception as error:  # zip files, compressors and NumPy have some ten kinds of it
        raise IntegrityError(f"{path} is damaged: {error}") from error
    return GoldenOutputs(image, outputs)


def _check_unpacked_size(npz: bytes) -> None:
    """Reject arrays that a few bytes unpack to; unpacking stops at the sizes that are read here."""
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        unpacked_bytes = sum(item.file_size for item in archive.infolist())
    if unpacked_bytes > MAX_GOLDEN_BYTES:
        raise ValueError(f"it unpacks to {unpacked_bytes:,} bytes, at most {MAX_GOLDEN_BYTES:,} are read")
