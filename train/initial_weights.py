"""What a stage begins with: random weights, ImageNet's, or those of the stage before."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights

from biounet_edge.errors import InputError
from train.config import TrainConfig
from train.network import IndicatorNetwork


def initialise(network: IndicatorNetwork, start: IndicatorNetwork | None, config: TrainConfig) -> None:
    """Give a network the weights that its stage begins with.

    Args:
        network: Has random weights; gets those of `start`, or ImageNet's where the configuration wants them.
        start: Network of the stage before, with at least the tasks of this one; None for the first stage.
        config: Of the run.

    Raises:
        InputError: If ImageNet's weights do not fit this width, or cannot be downloaded.
    """
    if start is None:
        if config.initial_weights == "imagenet":
            weights = _imagenet_weights(config)
            network.encoder.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")})
            _begin_heatmap_path(network)
        return
    network.encoder.load_state_dict(start.encoder.state_dict())
    network.projection_head.load_state_dict(start.projection_head.state_dict())
    rows = [start.tasks.index(task) for task in network.tasks]
    with torch.no_grad():
        network.classification_head.weight.copy_(start.classification_head.weight[rows])
        network.classification_head.bias.copy_(start.classification_head.bias[rows])
    _begin_heatmap_path(network)


def _imagenet_weights(config: TrainConfig) -> Mapping[str, Tensor]:
    if config.model.base_width != 64:
        raise InputError(
            f"ImageNet weights are for base_width 64, the configuration has {config.model.base_width}; "
            'set initial_weights = "random"'
        )
    try:
        weights: Mapping[str, Tensor] = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=False)
    except OSError as error:
        raise InputError(
            f"torchvision could not download the ImageNet weights ({error}); "
            'connect to the network once, or set initial_weights = "random"'
        ) from error
    return weights


def _begin_heatmap_path(network: IndicatorNetwork) -> None:
    """Let the heatmap path's batch norm begin with the encoder's scales, its stem with random weights."""
    own = {k: v for k, v in network.encoder.state_dict().items() if ".bn" in k or "downsample.1" in k}
    network.heatmap_path.encoder.load_state_dict(own, strict=False)
