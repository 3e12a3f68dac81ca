from urllib.error import URLError

import pytest
import torch
import torchvision

from biounet_edge.errors import InputError
from train.config import TASKS, TrainConfig
from train.initial_weights import initialise
from train.network import IndicatorNetwork, NetworkConfig

SMALL = NetworkConfig(base_width=4, image_size_px=64, heatmap_size_px=32)


def test_a_stage_takes_over_encoder_heads_and_scales(config: TrainConfig) -> None:
    torch.manual_seed(0)
    start, network = IndicatorNetwork(SMALL, TASKS), IndicatorNetwork(SMALL, ("streaks", "melanoma"))
    torch.nn.init.uniform_(start.encoder.layer2[1].bn2.weight)
    initialise(network, start, config)
    assert torch.equal(network.encoder.conv1.weight, start.encoder.conv1.weight)
    assert torch.equal(network.classification_head.weight[0], start.classification_head.weight[2])
    assert torch.equal(network.classification_head.weight[1], start.classification_head.weight[5])
    assert torch.equal(network.heatmap_path.encoder.layer2[1].bn2.weight, start.encoder.layer2[1].bn2.weight)


def test_imagenet_weights_of_another_width_are_refused(config: TrainConfig) -> None:
    imagenet = config.model_copy(update={"initial_weights": "imagenet"})
    with pytest.raises(InputError, match="ImageNet weights are for base_width 64, the configuration has 4"):
        initialise(IndicatorNetwork(SMALL, TASKS), None, imagenet)


@pytest.fixture
def full_width(config: TrainConfig) -> TrainConfig:
    model = config.model.model_copy(update={"base_width": 64})
    return config.model_copy(update={"initial_weights": "imagenet", "model": model})


def test_imagenet_weights_reach_the_encoder(full_width: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    published = torchvision.models.resnet50(weights=None).state_dict()
    monkeypatch.setattr(
        "torchvision.models.ResNet50_Weights.get_state_dict", lambda self, progress: published
    )
    network = IndicatorNetwork(NetworkConfig(64, 64, 64), TASKS)
    initialise(network, None, full_width)
    assert torch.equal(network.encoder.layer4[2].conv3.weight, published["layer4.2.conv3.weight"])
    assert torch.equal(
        network.heatmap_path.encoder.layer4[2].conv3.weight, published["layer4.2.conv3.weight"]
    )


def test_no_network_says_what_to_do(full_width: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, progress: bool) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models.ResNet50_Weights.get_state_dict", fail)
    with pytest.raises(InputError, match=r"could not download the ImageNet weights .*no route.*connect"):
        initialise(IndicatorNetwork(NetworkConfig(64, 64, 64), TASKS), None, full_width)
