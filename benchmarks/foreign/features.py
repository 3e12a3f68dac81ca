"""Features of a finished run's encoders: of its own photographs, and of foreign pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.foreign.published_scores import Pictures
from biounet_edge.errors import InputError
from biounet_edge.photographs.decoding import read_input
from train.checkpoint import load_model
from train.config.run import load_config
from train.data.dataset import ImageSet
from train.engine import Engine, Machine
from train.familiarity import weights_of_sources
from train.finish import counted_images, fusion_images
from train.fit import prepare
from train.fusion import extract_features
from train.run import Silence
from train.tasks import MELANOMA, TASKS


class _Folder(ImageSet):
    """Pictures without records, read as a prediction reads them."""

    def __init__(self, paths: Sequence[Path], size_px: int) -> None:
        super().__init__([], size_px, cache=False)
        self._paths = paths

    def images(self, indices: Sequence[int]) -> Tensor:
        size_px = self.size_px
        return torch.from_numpy(np.stack([read_input(self._paths[i], size_px, size_px) for i in indices]))


def read_features(run_folder: Path, data_root: Path, foreign: Path) -> Pictures:
    """Compute the features of all pictures that scores are compared on.

    Args:
        run_folder: Of a finished training run.
        data_root: Folder of its data.
        foreign: One folder of PNG pictures per kind.

    Returns:
        Features, of the training photographs that the run fits its fusion head to.

    Raises:
        InputError: If there are no foreign pictures.
        CheckpointError: If the run is not finished.
        DatasetError: If its data is missing or changed.
    """
    kinds = {kind.name: sorted(kind.glob("*.png")) for kind in sorted(foreign.glob("*")) if kind.is_dir()}
    if not any(kinds.values()):
        raise InputError(f"expected folders of PNG pictures in {foreign}, found none; make them first")
    model, _ = load_model(run_folder)
    engine = Engine(Machine())
    try:
        run = prepare(load_config(run_folder / "config.toml"), data_root, run_folder, Silence(), engine)
        model.to(engine.device)
        training = fusion_images(run)

        def features(images: ImageSet, chosen: list[int]) -> NDArray[np.float32]:
            return extract_features(model, images, chosen)

        return Pictures(
            training=features(run.training, training),
            melanoma=run.training.labels[training, TASKS.index(MELANOMA)].numpy(),
            weights=weights_of_sources([run.training.records[index].source for index in training]),
            validation=features(run.validation, counted_images(run)),
            foreign={
                kind: features(_Folder(paths, run.config.model.image_size_px), list(range(len(paths))))
                for kind, paths in kinds.items()
                if paths
            },
        )
    finally:
        engine.close()
