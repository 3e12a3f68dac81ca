"""What a loaded graph and the images for it must look like."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level
from biounet_edge.errors import InputError, ManifestError

Input = tuple[str, str, tuple[int, ...]]
"""Name, number format and shape without the batch of a graph's input."""


def check_signature(
    bundle: Bundle, level: Level, graph: str, inputs: Sequence[Input], outputs: Sequence[str]
) -> list[str]:
    """Compare a loaded graph with its manifest, so that a wrong pair fails here and not in the results.

    Args:
        bundle: The opened bundle.
        level: How much the graph computes.
        graph: Its file name.
        inputs: What the library found as its inputs.
        outputs: What the library found as the names of its outputs.

    Returns:
        The names of the outputs, as the manifest has them.

    Raises:
        ManifestError: If the inputs or outputs are not those of the manifest.
    """
    spec, promised = bundle.manifest.input, bundle.manifest.levels[level].outputs
    expected = [(spec.name, "uint8", (spec.height, spec.width, 3))]
    if list(inputs) != expected:
        raise ManifestError(f"{graph} has the inputs {list(inputs)}, and the manifest says {expected}")
    if sorted(outputs) != sorted(promised):
        raise ManifestError(f"{graph} has the outputs {list(outputs)}, and the manifest says {promised}")
    return promised


def check_images(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    """Reject images that the graph does not take.

    Args:
        bundle: The opened bundle.
        images: RGB pixels at the input size, shape (N, H, W, 3), uint8.

    Raises:
        InputError: If they have another shape or type, or there are none.
    """
    spec = bundle.manifest.input
    if images.dtype != np.uint8 or images.shape[1:] != (spec.height, spec.width, 3) or len(images) == 0:
        raise InputError(
            f"expected images of shape (N, {spec.height}, {spec.width}, 3) and type uint8 with N from 1 on, "
            f"got {images.shape} {images.dtype}"
        )
