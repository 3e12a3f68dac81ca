"""A rendered data set in ISIC layout and a configuration small enough to train on in seconds."""

from pathlib import Path

import pytest
import torch

from tests.conftest import MakeOnce
from train.config.run import TrainConfig, load_config
from train.fit import fit
from train.run import Silence
from train.synthesis import write_isic2018

# Two threads on tensors this small wait for each other longer than they compute.
torch.set_num_threads(1)

CONFIG = """
seed = 3
initial_weights = "random"
fusion_regularisation = [1e-3]
licence = "Apache-2.0"

[model]
name = "tiny"
base_width = 4
image_size_px = 64
heatmap_size_px = 32

[[data.annotated]]
name = "rendered"
layout = "isic2018_task2"
images = "ISIC2018_Task1-2_Training_Input"
masks = "ISIC2018_Task2_Training_GroundTruth_v3"
table = "diagnosis.csv"
columns = { lesion = "lesion_id", diagnosis = "melanoma" }
validation = 0.3

[[data.unlabelled]]
name = "rendered"
layout = "table"
images = "ISIC2018_Task1-2_Training_Input"
table = "diagnosis.csv"

[[pretrain]]
epochs = 1
iterations = 2
contrastive_batch = 4
classification_batch = 4
segmentation_batch = 0

[indicator]
epochs = 2
iterations = 2
contrastive_batch = 4
classification_batch = 4
segmentation_batch = 2
augment = "mild"
"""


@pytest.fixture(scope="session")
def data_root(make_once: MakeOnce) -> Path:
    def make(folder: Path) -> None:
        write_isic2018(folder / "data", 60, 11, height=64, width=80)

    return make_once("rendered", make) / "data"


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def config(config_path: Path) -> TrainConfig:
    return load_config(config_path)


@pytest.fixture(scope="session")
def finished(data_root: Path, make_once: MakeOnce) -> Path:
    """A run folder, trained without interruption."""

    def make(folder: Path) -> None:
        path = folder / "tiny.toml"
        path.write_text(CONFIG, encoding="utf-8")
        fit(load_config(path), path, data_root, folder / "run", Silence())

    return make_once("finished", make) / "run"


class Interruption(Silence):
    """Stops a run at its n-th epoch, as a power cut would."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def message(self, text: str) -> None:
        self.epochs -= " epoch " in text
        if self.epochs == 0:
            raise KeyboardInterrupt


class Halt(Silence):
    """Stops a run after its n-th iteration."""

    def __init__(self, iterations: int) -> None:
        self.left = iterations
        self.training = False

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.training = what not in ("read images", "fusion")

    def advance(self, count: int = 1) -> None:
        self.left -= count * self.training
        if self.left == 0:
            raise KeyboardInterrupt
