"""Checkpoints: tensors as safetensors, everything else as readable JSON beside them. No pickle.

A finished model is `model.safetensors` and `model.json`. While a stage trains, `last.safetensors` holds the
network, the best weights so far and the optimizers, with the position in the file's own metadata, so that one
rename publishes both.
"""

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Adam

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.errors import CheckpointError
from train.config.section import describe_problems
from train.network import BioUNet, NetworkConfig


class ModelInfo(BaseModel):
    """What `model.json` says about a trained model."""

    model_config = ConfigDict(extra="forbid")

    name: str
    row: str | None = None
    """Row of the paper's tables that the run fills."""
    network: NetworkConfig
    segmentation: bool = True
    """Whether f_Seg was trained; without it there are no masks, only heatmaps."""
    mean: tuple[float, float, float]
    """Channel means that pixels in [0, 1] were normalised with."""
    std: tuple[float, float, float]
    presence_temperatures: dict[str, float] = {}
    """By indicator: what its logit was divided by to be calibrated; the weights have it already."""
    presence_shifts: dict[str, float] = {}
    """By indicator: what was subtracted from its logit before that; the weights have it already."""
    melanoma_threshold: float
    """Operating point on the melanoma probability."""
    operating_points: dict[str, OperatingPoint]
    familiarity_threshold: float | None = None
    """Score below which a photograph is unfamiliar; None for a model without the score."""
    data: list[str]
    """One line a data source: its name and how many images stand on each side."""
    licence: str
    notice: str | None
    seed: int
    config: str
    """Name of the configuration file."""
    figures: dict[str, float]
    """Validation figures of the finished model."""
    epochs: dict[str, int]
    """Epochs that each stage trained."""
    versions: dict[str, str]
    """Versions of the libraries that trained it."""


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> None:
    """Write tensors whole or not at all; a tensor that several names share is stored under the first."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    unique = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if key not in seen or tensor.numel() == 0:
            unique[name] = tensor.contiguous()
        seen.add(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    save_file(unique, temporary, {"state": json.dumps(metadata or {})})
    os.replace(temporary, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and metadata.

    Raises:
        CheckpointError: If there is no such file or it is damaged.
    """
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint at {path}, found none; train one with `python -m train fit`"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get("state", "{}"))
        return load_file(path), metadata
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); remove it and run the training command again"
        ) from error


def load_module(module: nn.Module, tensors: dict[str, Tensor], origin: Path) -> None:
    """Load weights into a module; weights that it shares under several names need to be there once.

    Raises:
        CheckpointError: If names or shapes do not fit the module.
    """
    first_name: dict[int, str] = {}
    complete = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        source = first_name.setdefault(id(tensor), name)
        if source in tensors:
            complete[name] = tensors[source]
    unknown = sorted(set(tensors) - set(complete))
    if unknown:
        raise CheckpointError(
            f"{origin} has weights that this network has not, such as {unknown[0]}; check base_width"
        )
    try:
        module.load_state_dict(complete)
    except RuntimeError as error:
        raise CheckpointError(f"{origin} does not fit this network: {error}") from error


def pack_optimizers(optimizers: Mapping[str, Adam]) -> dict[str, Tensor]:
    """Adam's moments and step counts under flat names."""
    return {
        f"{name}/{index}/{key}": value
        for name, optimizer in optimizers.items()
        for index, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
    }


def unpack_optimizers(optimizers: Mapping[str, Adam], tensors: dict[str, Tensor]) -> None:
    """Put back what pack_optimizers took."""
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for full_name, value in tensors.items():
            owner, index, key = full_name.split("/")
            if owner == name:
                state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def save_model(folder: Path, model: BioUNet, info: ModelInfo) -> None:
    """Write `model.safetensors` and `model.json`."""
    save_tensors(folder / "model.safetensors", dict(model.state_dict()))
    write_text(folder / "model.json", info.model_dump_json(indent=2) + "\n")


def load_model(path: Path) -> tuple[BioUNet, ModelInfo]:
    """Read a finished model.

    Args:
        path: `model.safetensors`, or the folder that holds it and `model.json`.

    Returns:
        The network in evaluation mode, and what `model.json` says.

    Raises:
        CheckpointError: If a file is missing, damaged or of another network.
    """
    weights = path / "model.safetensors" if path.is_dir() else path
    sidecar = weights.with_suffix(".json")
    tensors, _ = load_tensors(weights)
    try:
        info = ModelInfo.model_validate_json(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"expected {sidecar.name} beside {weights}, found none; copy both files"
        ) from error
    except ValidationError as error:
        raise CheckpointError(f"{sidecar} does not describe a model: {describe_problems(error)}") from error
    model = BioUNet(info.network)
    load_module(model, tensors, weights)
    return model.requires_grad_(False).eval(), info


def versions() -> dict[str, str]:
    """Versions of what trains."""
    return {name: metadata.version(name) for name in ("torch", "torchvision", "kornia", "scikit-learn")}
