"""What a stage begins with: random weights, published ones, or those of the stage before."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from biounet_edge.errors import CheckpointError, InputError
from train.checkpoint import load_module, load_tensors
from train.config.run import TrainConfig
from train.encoders import FAMILIES
from train.network import HeatmapPath, IndicatorNetwork


def initialise(network: IndicatorNetwork, start: IndicatorNetwork | None, config: TrainConfig) -> list[str]:
    """Give a network the weights that its stage begins with.

    Args:
        network: Has random weights; gets those of `start`, or the configured published ones.
        start: Network of the stage before, with at least the tasks of this one; None for the first stage.
        config: Of the run.

    Returns:
        Names of the encoder's layers or weights that the published weights lack: they stay random.

    Raises:
        InputError: If the weights do not fit this width, or are not available.
        CheckpointError: If a file of weights is missing, damaged or of another network.
    """
    if start is None and config.initial_weights == "random":
        return []
    missing: list[str] = []
    start = start or _read_stage(network, config)
    if start is None:
        missing = _load_published(network, config)
    else:
        network.encoder.load_state_dict(start.encoder.state_dict())
        network.projection_head.load_state_dict(start.projection_head.state_dict())
        rows = [start.tasks.index(task) for task in network.tasks]
        with torch.no_grad():
            network.classification_head.weight.copy_(start.classification_head.weight[rows])
            network.classification_head.bias.copy_(start.classification_head.bias[rows])
            if network.mask_head is not None and start.mask_head is not None:
                rows = [start.indicators.index(indicator) for indicator in network.indicators]
                network.mask_head.gain.copy_(start.mask_head.gain[rows])
                network.mask_head.offset.copy_(start.mask_head.offset[rows])
    _begin_heatmap_paths(network, start)
    return missing


def _read_stage(network: IndicatorNetwork, config: TrainConfig) -> IndicatorNetwork | None:
    """The network of a pretraining stage's file, heads included; None if the weights are published ones."""
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


def _load_published(network: IndicatorNetwork, config: TrainConfig) -> list[str]:
    """Give the encoder published weights; the names of those that the file lacks, which stay random."""
    family = FAMILIES[config.model.family]
    if config.initial_weights == "imagenet":
        width = family.IMAGENET_WIDTH
        if config.model.base_width != width:
            raise InputError(
                f"ImageNet weights are for base_width {width}, the configuration has "
                f'{config.model.base_width}; set initial_weights = "random"'
            )
        weights, origin = family.read_imagenet(), "the ImageNet weights"
    else:
        weights, origin = read_weights(Path(config.initial_weights)), config.initial_weights
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    try:
        missing, unknown = network.encoder.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise CheckpointError(_mismatch(config, origin, str(error))) from error
    if unknown or not own:
        raise CheckpointError(_mismatch(config, origin, f"it has {unknown[0]}" if unknown else "it has none"))
    there = {name.partition(".")[0] for name in own}
    parts = {name.partition(".")[0] if name.partition(".")[0] not in there else name for name in missing}
    return sorted(name for name in parts if not name.endswith("num_batches_tracked"))


def _mismatch(config: TrainConfig, origin: str, why: str) -> str:
    names = "torchvision's names" if config.model.family == "resnet50" else "this project's names"
    return (
        f"expected {config.model.family} weights with {names} at base_width {config.model.base_width}; "
        f"{origin} does not fit: {why}"
    )


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Weights by name from a .safetensors file, or a .pth file of tensors alone.

    Raises:
        CheckpointError: If there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(
            f'expected weights at {path}, found none; set initial_weights to a file, "imagenet" or "random"'
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


def begin_heatmap_path(network: IndicatorNetwork, task: str, other: HeatmapPath) -> None:
    """Give an f_Seg the stem, the scales and the decoder of another's; the encoder's blocks stay its own.

    Args:
        network: Whose f_Seg begins anew.
        task: Indicator that it localises.
        other: Trained f_Seg of the same topology.
    """
    of_encoder = {id(weight) for weight in network.encoder.parameters()}
    trained = other.state_dict()
    with torch.no_grad():
        for name, tensor in network.heatmap_path(task).state_dict(keep_vars=True).items():
            if id(tensor) not in of_encoder:
                tensor.copy_(trained[name])


def _begin_heatmap_paths(network: IndicatorNetwork, start: IndicatorNetwork | None) -> None:
    """Begin heatmap paths where `start` left them; a new one with the encoder's scales and a random stem."""
    own = {
        f"{name}.{key}": tensor
        for name, module in network.encoder.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key, tensor in module.state_dict().items()
    }
    for task in network.localised:
        path = network.heatmap_path(task)
        if start is not None and task in start.localised:
            path.load_state_dict(start.heatmap_path(task).state_dict())
        else:
            wanted = path.encoder.state_dict()
            path.encoder.load_state_dict({k: v for k, v in own.items() if k in wanted}, strict=False)
