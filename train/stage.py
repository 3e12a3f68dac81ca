"""One stage of a run: one network trained for some epochs, kept at its best, resumable at any iteration."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.algorithm import ExplainedEncoder, HeatmapCache, Iteration, Subnetworks, settle_batch_norm
from train.checkpoint import load_module, load_tensors, pack_optimizers, save_tensors, unpack_optimizers
from train.config.stages import StageConfig
from train.data.batches import Plan, derive_seed
from train.initial_weights import initialise
from train.network import IndicatorNetwork
from train.run import Run
from train.validation import score, validate


@dataclass
class Position:
    """How far a stage is."""

    iteration: int = 0
    """Iterations done."""
    score: float | None = None
    """Best validation score."""
    best: dict[str, Tensor] | None = None
    """Weights that reached it."""
    best_epoch: int = 0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Losses of the current epoch so far."""


def train_stage(
    run: Run,
    name: str,
    tasks: tuple[str, ...],
    localised: tuple[str, ...],
    stage: StageConfig,
    start: IndicatorNetwork | None,
) -> IndicatorNetwork:
    """Train one network for the epochs of a stage, from `start`'s weights, and keep the best.

    Args:
        run: The run.
        name: Name of the stage, and of its file.
        tasks: Logits of the network.
        localised: Tasks with an f_Seg.
        stage: Epochs and updates.
        start: Network whose weights this one begins with; None for the configured initial weights.

    Returns:
        The network with the weights of the best validation score, or the last where nothing is scored.
    """
    torch.manual_seed(derive_seed(run.config.seed, name, "weights"))
    network = IndicatorNetwork(run.network_config, tasks, localised)
    missing = initialise(network, start, run.config)
    if missing:
        run.report.message(f"{name}: the initial weights lack {', '.join(missing)}; random there")
    network.freeze(stage.frozen_blocks)
    run.engine.prepare(network)
    finished = run.folder / "stages" / f"{name}.safetensors"
    if finished.is_file():
        tensors, state = load_tensors(finished)
        load_module(network, tensors, finished)
        run.epochs[name] = state["epochs"]
        return network
    training = _Training(run, network, Plan(name, stage, tasks, localised))
    training.restore()
    training.finish_epochs()
    position = training.position
    if position.best is not None:
        network.load_state_dict(position.best)
    run.epochs[name] = position.iteration // stage.iterations
    if run.engine.is_first:
        state = {
            "tasks": tasks,
            "epochs": run.epochs[name],
            "score": position.score,
            "best_epoch": position.best_epoch,
        }
        save_tensors(finished, dict(network.state_dict()), state)
    run.engine.wait()
    return network


class _Training:
    """A stage while it trains.

    E3 has the best weights so far; before there are any, the current ones.
    """

    def __init__(self, run: Run, network: IndicatorNetwork, plan: Plan) -> None:
        self.run = run
        self.network = network
        self.plan = plan
        self.subnetworks = Subnetworks(network, plan.stage, run.engine)
        self.averaged: AveragedModel | None = None
        if plan.stage.averaging is not None:
            average = get_ema_multi_avg_fn(plan.stage.averaging)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.position = Position()
        self._explained: ExplainedEncoder | None = None
        self._last = run.folder / "last.safetensors"
        self._saved = time.monotonic()

    def finish_epochs(self) -> None:
        """Train the epochs that are left; stop early where the stage's patience ends."""
        run, plan, stage = self.run, self.plan, self.plan.stage
        alone = stage is run.config.segmentation
        iteration = Iteration(
            run.engine,
            run.batches,
            plan,
            self.subnetworks,
            run.config.contrastive_temperature,
            HeatmapCache() if alone else None,
        )
        total = stage.epochs * stage.iterations
        run.report.begin(plan.name, total, self.position.iteration)
        if self._patience_is_over():
            return
        explains = bool(plan.localised and stage.segmentation_batch)
        began = time.monotonic()
        materials = run.batches.load(plan, self.position.iteration, total)
        for number, material in enumerate(materials, self.position.iteration):
            epoch, within = divmod(number, stage.iterations)
            self.subnetworks.set_learning_rate(stage, number)
            if explains and self.position.best is None and (self._explained is None or not alone):
                self._explained = ExplainedEncoder.copy_of(self.network)
            for name, value in iteration.train(number, material, self._explained).items():
                self.position.losses[name].append(value)
            if self.averaged is not None:
                self.averaged.update_parameters(self.network)
            self.position.iteration = number + 1
            run.report.advance()
            if within + 1 == stage.iterations:
                self._end_epoch(epoch, time.monotonic() - began)
                began = time.monotonic()
                self.save()
                if self._patience_is_over():
                    break
            elif run.engine.broadcast(self._checkpoint_is_due()):
                self.save()

    def _end_epoch(self, epoch: int, seconds: float) -> None:
        """Settle, validate, log; remember the weights if they are the best so far."""
        run, position = self.run, self.position
        if self.averaged is None:
            judged = self.network
            settle_batch_norm(judged, self.plan, run.batches, run.engine, epoch)
        else:
            judged = cast(IndicatorNetwork, self.averaged.module)
        figures: dict[str, float] = {}
        if run.engine.is_first:
            figures = validate(judged, run.validation, run.validating_sources, self.plan, run.engine)
        figures = run.engine.broadcast(figures)
        reached = score(figures)
        if reached is None or position.score is None or reached > position.score:
            position.score, position.best_epoch = reached, epoch + 1
            position.best = {k: v.detach().cpu().clone() for k, v in judged.state_dict().items()}
            self._explained = ExplainedEncoder.copy_of(judged)
        losses = {name: float(np.mean(values)) for name, values in position.losses.items()}
        position.losses.clear()
        run.log(
            self.plan.name,
            epoch=epoch + 1,
            seconds=round(seconds, 1),
            score=reached,
            best=position.score,
            losses=losses,
            **figures,
        )
        parts = [f"{key} {value:.3f}" for key, value in (*losses.items(), *figures.items())]
        run.report.message(
            f"{self.plan.name} epoch {epoch + 1}/{self.plan.stage.epochs}: " + ", ".join(parts)
        )

    def _patience_is_over(self) -> bool:
        patience, position = self.plan.stage.patience, self.position
        epoch, within = divmod(position.iteration, self.plan.stage.iterations)
        return patience is not None and within == 0 and epoch - position.best_epoch >= patience

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved >= 60 * self.run.engine.machine.checkpoint_minutes

    def save(self) -> None:
        """Write last.safetensors: weights, the best so far, optimizers, position."""
        self._saved = time.monotonic()
        if not self.run.engine.is_first:
            return
        position = self.position
        groups = {
            "network": dict(self.network.state_dict()),
            "best": position.best or {},
            "optimizer": pack_optimizers(self.subnetworks.optimizers),
            "averaged": {} if self.averaged is None else dict(self.averaged.module.state_dict()),
        }
        tensors = {
            f"{group}:{name}": tensor for group, members in groups.items() for name, tensor in members.items()
        }
        state = {
            "stage": self.plan.name,
            "iteration": position.iteration,
            "score": position.score,
            "best_epoch": position.best_epoch,
            "losses": position.losses,
            "scaler": self.run.engine.scaler_state(),
        }
        save_tensors(self._last, tensors, state)

    def restore(self) -> None:
        """Go on where an earlier run stopped, if it stopped in this stage."""
        if not self._last.is_file():
            return
        tensors, state = load_tensors(self._last)
        self.run.engine.load_scaler_state(state["scaler"])  # which goes on from stage to stage
        if state["stage"] != self.plan.name:
            return
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}, "averaged": {}}
        for full_name, tensor in tensors.items():
            group, _, name = full_name.partition(":")
            groups[group][name] = tensor
        load_module(self.network, groups["network"], self._last)
        unpack_optimizers(self.subnetworks.optimizers, groups["optimizer"])
        if self.averaged is not None:
            load_module(self.averaged.module, groups["averaged"], self._last)
            self.averaged.n_averaged.fill_(state["iteration"])
        self.position = Position(
            state["iteration"],
            state["score"],
            best_epoch=state["best_epoch"],
            losses=defaultdict(list, state["losses"]),
        )
        if groups["best"]:
            best = IndicatorNetwork(self.network.config, self.network.tasks, self.network.localised)
            best.to(self.run.engine.device, self.run.engine.dtype)
            load_module(best, groups["best"], self._last)
            self._explained = ExplainedEncoder.copy_of(best)
            self.position.best = {name: tensor.cpu().clone() for name, tensor in best.state_dict().items()}
