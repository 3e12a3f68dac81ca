"""What a model makes of changes that nobody sees: the yardstick of `biounet_edge.checks.agreement.GATES`.

A shorter number format may change answers as much as a grey level of noise or a JPEG of quality 95 does, in
float32 on the same photographs, and not more.

    python -m benchmarks.perturbation engines/demo --images FOLDER
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from biounet_edge.bundle.folder import Bundle
from biounet_edge.checks.agreement import Agreement, AgreementMeter
from biounet_edge.checks.selection import open_backend
from biounet_edge.photographs.decoding import read_input
from biounet_edge.photographs.discovery import discover

Image = NDArray[np.uint8]

SEED = 0
JPEG_QUALITY = 95


def add_noise(image: Image) -> Image:
    """Adds -1, 0 or 1 to each value of an image (H, W, 3), at random."""
    noise = np.random.default_rng(SEED).integers(-1, 2, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def compress(image: Image) -> Image:
    """Saves an image (H, W, 3) as a JPEG and reads it again."""
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


PERTURBATIONS: Mapping[str, Callable[[Image], Image]] = {
    "one grey level of noise": add_noise,
    f"JPEG of quality {JPEG_QUALITY}": compress,
}


def measure(bundle: Bundle, photographs: list[Path]) -> dict[str, Agreement]:
    """Compares the float32 graph with itself on changed photographs.

    Args:
        bundle: The opened bundle.
        photographs: Image files.

    Returns:
        Agreement by the name of the change.
    """
    spec = bundle.manifest.input
    meters = {name: AgreementMeter(bundle.manifest) for name in PERTURBATIONS}
    backend = open_backend(bundle, "full", "cpu", "float32").backend
    for path in photographs:
        image = read_input(path, spec.height, spec.width)
        expected = backend.run(image[None])
        for name, perturb in PERTURBATIONS.items():
            meters[name].add(backend.run(perturb(image)[None]), expected)
    backend.close()
    return {name: meter.result() for name, meter in meters.items()}


def main(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; the demo bundle if left out.")] = None,
    images: Annotated[list[Path] | None, typer.Option(help="Photographs or folders of them.")] = None,
) -> None:
    """Print, as JSON, how far answers move when photographs change invisibly."""
    photographs = [image.path for image in discover(images or [Path("samples")])]
    agreements = measure(Bundle.open(bundle), photographs)
    typer.echo(json.dumps({name: agreement.to_dict() for name, agreement in agreements.items()}, indent=2))


if __name__ == "__main__":
    typer.run(main)
