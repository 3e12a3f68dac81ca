"""What a stage begins with: random weights, a ResNet-50's, or those of the stage before."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import ResNet50_Weights

from biounet_edge.errors import CheckpointError, InputError
from train.checkpoint import load_module, load_tensors
from train.config import TrainConfig
from train.network import IndicatorNetwork


def initialise(network: IndicatorNetwork, start: IndicatorNetwork | None, config: TrainConfig) -> None:
    """Give a network the weights that its stage begins with.

    Args:
        network: Has random weights; gets those of `start`, or the configured ResNet-50's.
        start: Network of the stage before, with at least the tasks of this one; None for the first stage.
        config: Of the run.

    Raises:
        InputError: If the weights do not fit this width, or cannot be downloaded.
        CheckpointError: If a file of weights is missing, damaged or of another network.
    """
    if start is None and config.initial_weights == "random":
        return
    start = start or _read_stage(network, config)
    if start is None:
        _load_resnet50(network, config)
    else:
        network.encoder.load_state_dict(start.encoder.state_dict())
        network.projection_head.load_state_dict(start.projection_head.state_dict())
        rows = [start.tasks.index(task) for task in network.tasks]
        with torch.no_grad():
            network.classification_head.weight.copy_(start.classification_head.weight[rows])
            network.classification_head.bias.copy_(start.classification_head.bias[rows])
    _begin_heatmap_paths(network)


def _read_stage(network: IndicatorNetwork, config: TrainConfig) -> IndicatorNetwork | None:
    """The network of a pretraining stage's file, heads included; None if the weights are a ResNet-50's."""
    path = Path(config.initial_weights)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    tensors, state = load_tensors(path)
    if "tasks" not in state:
        return None
    stage = IndicatorNetwork(network.config, tuple(state["tasks"]), ())
    load_module(stage, tensors, path)
    missing = sorted(set(network.tasks) - set(stage.tasks))
    if missing:
        raise CheckpointError(
            f"expected a stage that learnt {', '.join(network.tasks)}, {path} has no {', '.join(missing)}; "
            "pretrain over all tasks"
        )
    return stage


def _load_resnet50(network: IndicatorNetwork, config: TrainConfig) -> None:
    if config.initial_weights == "imagenet":
        if config.model.base_width != 64:
            raise InputError(
                f"ImageNet weights are for base_width 64, the configuration has {config.model.base_width}; "
                'set initial_weights = "random"'
            )
        weights, origin = _download(), "torchvision's ImageNet weights"
    else:
        weights, origin = read_weights(Path(config.initial_weights)), config.initial_weights
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    try:
        network.encoder.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected ResNet-50 weights with torchvision's names at base_width {config.model.base_width}; "
            f"{origin} does not fit: {error}"
        ) from error


def _download() -> Mapping[str, Tensor]:
    try:
        weights: Mapping[str, Tensor] = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=False)
    except OSError as error:
        raise InputError(
            f"torchvision could not download the ImageNet weights ({error}); connect to the network once, "
            f"or fetch {ResNet50_Weights.IMAGENET1K_V2.url} elsewhere and set initial_weights to the file"
        ) from error
    return weights


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Weights by name from a .safetensors file, or a .pth file of tensors alone.

    Raises:
        CheckpointError: If there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(
            f'expected ResNet-50 weights at {path}, found none; set initial_weights to a file, "imagenet" '
            'or "random"'
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights: object = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({error}); fetch it again") from error
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f"expected weights by name in {path}, got a {type(weights).__name__}; fetch it again"
        )
    return weights


def _begin_heatmap_paths(network: IndicatorNetwork) -> None:
    """Let each heatmap path's batch norm begin with the encoder's scales, its stem with random weights."""
    own = {k: v for k, v in network.encoder.state_dict().items() if ".bn" in k or "downsample.1" in k}
    for task in network.localised:
        network.heatmap_path(task).encoder.load_state_dict(own, strict=False)
