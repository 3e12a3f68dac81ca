"""A whole training run: pretraining, Algorithm 1 for each indicator, fusion, operating points.

A run folder holds everything: config.toml, split.csv, metrics.jsonl, stages/<stage>.safetensors,
last.safetensors while a stage trains, and at the end model.safetensors with model.json. Started again on the
same folder, a run goes on after the last finished epoch. The chance of an epoch comes from (seed, stage,
epoch) alone, so a resumed run draws what an uninterrupted one would have drawn.
"""

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from biounet_edge.errors import DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from train.algorithm import ExplainedEncoder, Optimizers, score, settle_batch_norm, train_epoch, validate
from train.checkpoint import (
    load_module,
    load_tensors,
    pack_optimizers,
    save_tensors,
    unpack_optimizers,
)
from train.config import TASKS, StageConfig, TrainConfig
from train.data.batches import Batches
from train.data.dataset import ImageSet
from train.data.records import Record, read_source
from train.data.splits import check_split, split_records, write_split
from train.finish import finish_model
from train.initial_weights import initialise
from train.network import MELANOMA, BioUNet, IndicatorNetwork
from train.run import Reporter, Run


def fit(config: TrainConfig, config_path: Path, data_root: Path, folder: Path, report: Reporter) -> Path:
    """Train a model, or go on where an earlier call was stopped.

    Args:
        config: What to train.
        config_path: The file it came from, kept in the run folder.
        data_root: Folder that the paths of the data sources are relative to.
        folder: Run folder; created where missing.
        report: Progress.

    Returns:
        Path of model.safetensors.

    Raises:
        DatasetError: If data is missing or contradicts itself, before any training.
        InputError: If the folder holds a run of another configuration.
        CheckpointError: If a checkpoint of the run is damaged.
    """
    run = prepare(config, config_path, data_root, folder, report)
    _fill_caches(run)
    network: IndicatorNetwork | None = None
    for index, stage in enumerate(config.pretrain):
        network = train_stage(run, f"pretrain-{index + 1}", TASKS, stage, network)
    model = BioUNet(run.network_config)
    for indicator in INDICATORS:
        trained = train_stage(run, indicator, (indicator, MELANOMA), config.indicator, network)
        model.network(indicator).load_state_dict(trained.state_dict())
    return finish_model(run, model, config_path.name)


def prepare(config: TrainConfig, config_path: Path, data_root: Path, folder: Path, report: Reporter) -> Run:
    """Read and check all data, and open the run folder. Everything wrong with the input is found here."""
    sources = [(source, read_source(source, data_root)) for source in config.data.annotated]
    split = split_records(sources, config.seed)
    held_out = {r.image_id for side in ("validation", "test") for r in split[side]}
    unlabelled = [
        record
        for source in config.data.unlabelled
        for record in read_source(source, data_root)
        if record.image_id not in held_out
    ]
    check_split({**split, "train": [*split["train"], *unlabelled]})
    _check_sufficient(config, split["train"], unlabelled)
    _open_folder(folder, config_path)
    write_split(split, folder / "split.csv")
    size, cache = config.model.image_size_px, config.data.cache
    training, validation, contrastive = (
        ImageSet(records, size, cache=cache) for records in (split["train"], split["validation"], unlabelled)
    )
    torch.manual_seed(config.seed)
    return Run(config, folder, split, training, validation, Batches(config, training, contrastive), report)


def _check_sufficient(config: TrainConfig, training: list[Record], unlabelled: list[Record]) -> None:
    stages = (*config.pretrain, config.indicator)
    if not unlabelled and any(stage.contrastive_batch and stage.epochs for stage in stages):
        raise DatasetError(
            "f_CLR needs Dataset B, but no image is left in it; name `data.unlabelled` sources "
            "or set contrastive_batch to 0"
        )
    if config.indicator.segmentation_batch and config.indicator.epochs:
        for indicator in INDICATORS:
            if not any(indicator in record.masks for record in training):
                raise DatasetError(
                    f"f_Seg needs masks of {indicator}, but no training image has one; "
                    "add a source with masks or set segmentation_batch to 0"
                )
    if len({record.melanoma for record in training} - {None}) < 2:
        raise DatasetError(
            "the diagnosis needs training images with and without melanoma; name a label table that has both"
        )


def _fill_caches(run: Run) -> None:
    """Read all images that are kept in memory, so that a damaged file shows before training."""
    image_sets = (run.training, run.validation, run.batches.unlabelled)
    run.report.begin("read images", sum(map(len, image_sets)))
    for images in image_sets:
        for _ in images.fill_cache():
            run.report.advance()


def _open_folder(folder: Path, config_path: Path) -> None:
    kept = folder / "config.toml"
    if kept.is_file() and kept.read_bytes() != config_path.read_bytes():
        raise InputError(
            f"{folder} holds a run of another configuration ({kept} differs from {config_path}); "
            "give another run folder, or the configuration it began with"
        )
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    if not kept.is_file():
        shutil.copyfile(config_path, kept)


def train_stage(
    run: Run, name: str, tasks: tuple[str, ...], stage: StageConfig, start: IndicatorNetwork | None
) -> IndicatorNetwork:
    """Train one network for the epochs of a stage, from `start`'s weights, and keep the best.

    Args:
        run: The run.
        name: Name of the stage, and of its file.
        tasks: Logits of the network.
        stage: Epochs and updates.
        start: Network whose weights this one begins with; None for the configured initial weights.

    Returns:
        The network with the weights of the best validation score, or the last where nothing is scored.
    """
    torch.manual_seed(derive_seed(run.config.seed, name, -1))
    network = IndicatorNetwork(run.network_config, tasks)
    initialise(network, start, run.config)
    finished = run.folder / "stages" / f"{name}.safetensors"
    if finished.is_file():
        tensors, state = load_tensors(finished)
        load_module(network, tensors, finished)
        run.epochs[name] = state["epochs"]
        return network
    optimizers = Optimizers.of(network, stage)
    position = _Position()
    last = run.folder / "last.safetensors"
    if last.is_file() and load_tensors(last)[1]["stage"] == name:
        position = _restore(last, network, optimizers)
    best = ExplainedEncoder.copy_of(_with_weights(network, position.best))
    run.report.begin(name, stage.epochs * stage.iterations, position.epoch * stage.iterations)
    for epoch in range(position.epoch, stage.epochs):
        began = time.monotonic()
        torch.manual_seed(derive_seed(run.config.seed, name, epoch))
        optimizers.set_learning_rate(stage, epoch)
        temperature = run.config.contrastive_temperature
        explained = best if stage.segmentation_batch else None
        losses = train_epoch(
            network, explained, stage, run.batches, optimizers, temperature, run.report.advance
        )
        settle_batch_norm(network, stage, run.batches)
        figures = validate(network, run.validation, run.validating_sources, stage)
        reached = score(figures)
        position.epoch = epoch + 1
        if reached is None or position.score is None or reached > position.score:
            position.score, position.best = reached, _clone(network.state_dict())
            best = ExplainedEncoder.copy_of(network)
        _save(last, name, network, optimizers, position)
        run.log(
            stage=name,
            epoch=epoch + 1,
            seconds=round(time.monotonic() - began, 1),
            score=reached,
            best=position.score,
            losses=losses,
            **figures,
        )
        run.report.message(_line(name, epoch + 1, stage.epochs, losses, figures))
    if position.best is not None:
        network.load_state_dict(position.best)
    save_tensors(finished, dict(network.state_dict()), {"epochs": position.epoch, "score": position.score})
    run.epochs[name] = position.epoch
    return network


@dataclass
class _Position:
    """How far a stage is."""

    epoch: int = 0
    score: float | None = None
    best: dict[str, Tensor] | None = None
    """Weights of the best score."""


def derive_seed(seed: int, stage: str, epoch: int) -> int:
    """A seed for one epoch of one stage; epoch -1 is the stage's initial weights."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()[:8], "little") >> 1


def _with_weights(network: IndicatorNetwork, weights: dict[str, Tensor] | None) -> IndicatorNetwork:
    if weights is None:
        return network
    copy = IndicatorNetwork(network.config, network.tasks)
    copy.load_state_dict(weights)
    return copy


def _clone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _save(
    path: Path, stage: str, network: IndicatorNetwork, optimizers: Optimizers, position: _Position
) -> None:
    groups = {
        "network": dict(network.state_dict()),
        "best": position.best or {},
        "optimizer": pack_optimizers(optimizers.all()),
    }
    tensors = {
        f"{group}:{name}": tensor for group, members in groups.items() for name, tensor in members.items()
    }
    save_tensors(path, tensors, {"stage": stage, "epoch": position.epoch, "score": position.score})


def _restore(path: Path, network: IndicatorNetwork, optimizers: Optimizers) -> _Position:
    tensors, state = load_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
    for full_name, tensor in tensors.items():
        group, _, name = full_name.partition(":")
        groups[group][name] = tensor
    load_module(network, groups["network"], path)
    unpack_optimizers(optimizers.all(), groups["optimizer"])
    best = IndicatorNetwork(network.config, network.tasks)
    load_module(best, groups["best"], path)
    return _Position(state["epoch"], state["score"], _clone(best.state_dict()))


def _line(name: str, epoch: int, epochs: int, losses: dict[str, float], figures: dict[str, float]) -> str:
    parts = [f"{key} {value:.3f}" for key, value in (*losses.items(), *figures.items())]
    return f"{name} epoch {epoch}/{epochs}: " + ", ".join(parts)
