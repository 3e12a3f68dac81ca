"""Small untrained models whose heatmaps are not all zero, and a run folder with one."""

import shutil
from pathlib import Path

import pytest
import torch

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.indicators import INDICATORS
from train.checkpoint import ModelInfo, save_model
from train.data.dataset import MEAN, STD
from train.encoders import HEATMAPS
from train.network import BioUNet, NetworkConfig
from train.tasks import ONE_ENCODER_EACH, TASKS

ALL_TASKS_ON_ONE_ENCODER = (TASKS,)


def settled_model(encoders: tuple[tuple[str, ...], ...] = ONE_ENCODER_EACH) -> BioUNet:
    """Batch norm has seen data, and every figure of the model differs between images."""
    torch.manual_seed(0)
    model = BioUNet(NetworkConfig(4, 64, 32, encoders)).train()
    for network in model.all_networks():
        for _ in range(5):
            network.encoder(torch.randn(8, 3, 64, 64))
            for indicator in network.localised:
                network.segment(torch.rand(4, HEATMAPS, 32, 32), indicator)
    torch.nn.init.normal_(model.fusion_head.weight, std=0.1)
    return model.requires_grad_(False).eval()


def describe(model: BioUNet) -> ModelInfo:
    return ModelInfo(
        name="tiny",
        row="bio_u_net",
        network=model.config,
        mean=MEAN,
        std=STD,
        melanoma_threshold=0.4,
        operating_points={name: OperatingPoint(presence=0.5, mask=0.45) for name in INDICATORS},
        data=["rendered: 42 train, 18 validation, 0 test"],
        licence="Apache-2.0",
        notice=None,
        seed=3,
        config="tiny.toml",
        figures={},
        epochs={},
        versions={},
    )


@pytest.fixture(scope="package")
def model() -> BioUNet:
    return settled_model()


@pytest.fixture(scope="package")
def multitask_model() -> BioUNet:
    return settled_model(ALL_TASKS_ON_ONE_ENCODER)


@pytest.fixture
def run_folder(tmp_path: Path, config_path: Path, model: BioUNet) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(config_path, folder / "config.toml")
    save_model(folder, model, describe(model))
    return folder
