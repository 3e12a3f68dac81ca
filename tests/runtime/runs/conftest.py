from pathlib import Path

import numpy as np
import pytest

from biounet_edge import Predictor

from .folder_runs import IMAGES


@pytest.fixture
def folder(tmp_path, photograph, write_image) -> Path:
    """Seven images of which the fifth is cut off."""
    for i in range(IMAGES):
        path = write_image(tmp_path / "images" / f"{i}.png", np.roll(photograph, 9 * i, axis=1))
    cut = tmp_path / "images" / "4.png"
    cut.write_bytes(path.read_bytes()[:300])
    return tmp_path / "images"


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
