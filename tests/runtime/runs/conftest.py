from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biounet_edge import Predictor

from .folder_runs import IMAGES


@pytest.fixture(scope="session")
def write_folder(photograph, write_image) -> Callable[[Path], Path]:
    """Writes seven images of which the fifth is cut off."""

    def write(folder: Path) -> Path:
        for i in range(IMAGES):
            path = write_image(folder / f"{i}.png", np.roll(photograph, 9 * i, axis=1))
        (folder / "4.png").write_bytes(path.read_bytes()[:300])
        return folder

    return write


@pytest.fixture
def folder(tmp_path, write_folder) -> Path:
    return write_folder(tmp_path / "images")


@pytest.fixture(scope="module")
def counting(bundle):
    """A predictor at level classify that notes the size of each batch."""
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        run, predictor.batches = predictor.backend.run, []

        def observed(images):
            predictor.batches.append(len(images))
            return run(images)

        predictor.backend.run = observed
        yield predictor
