"""What an iteration does to a network."""

from pathlib import Path

import pytest
import torch

from tests.train.conftest import Interruption
from train.algorithm import ExplainedEncoder, Iteration, Subnetworks
from train.config import AdversarialConfig, StageConfig, TrainConfig
from train.data.batches import Batches, Plan, Share
from train.data.dataset import ImageSet
from train.data.records import read_source
from train.engine import Engine, Machine
from train.fit import fit
from train.network import IndicatorNetwork

REPOSITORY = Path(__file__).parents[2]


def test_e3_has_the_current_weights_until_there_are_best_ones(
    config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []
    compute = ExplainedEncoder.heatmaps

    def remember(self: ExplainedEncoder, pixels: torch.Tensor, task: int, size_px: int) -> torch.Tensor:
        if pixels.shape[0] == config.indicator.segmentation_batch:
            heads.append(self.classification_head.weight.clone())
        return compute(self, pixels, task, size_px)

    monkeypatch.setattr(ExplainedEncoder, "heatmaps", remember)
    with pytest.raises(KeyboardInterrupt):
        fit(config, config_path, data_root, tmp_path / "run", Interruption(3))
    # Two epochs of two iterations: current, current, best, best.
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[2], heads[3])


def test_the_encoder_may_learn_slower_than_the_rest(config: TrainConfig) -> None:
    optimizer = config.indicator.optimizer.model_copy(update={"encoder_learning_rate": 1e-6})
    stage = config.indicator.model_copy(update={"optimizer": optimizer})
    network = IndicatorNetwork(config.model.network, ("streaks", "melanoma"))
    subnetworks = Subnetworks(network, stage, Engine(Machine("cpu")))
    shared, own = subnetworks.part("segmentation-streaks")[1].param_groups
    assert (shared["lr"], own["lr"]) == (1e-6, 1e-4)
    assert any(weight is network.encoder.layer3[1].conv2.weight for weight in shared["params"])
    assert any(weight is network.heatmap_path("streaks").encoder.conv1.weight for weight in own["params"])
    everything = {id(w) for w in network.heatmap_path("streaks").parameters()}
    assert {id(w) for group in (shared, own) for w in group["params"]} == everything


def test_the_virtual_adversarial_loss_is_added_by_its_weight(config: TrainConfig, data_root: Path) -> None:
    images = ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=True)
    losses = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        settings = AdversarialConfig(batch=4, weight=weight)
        stage = StageConfig(
            epochs=1,
            iterations=1,
            contrastive_batch=0,
            classification_batch=4,
            segmentation_batch=0,
            adversarial=settings,
        )
        plan = Plan("x", stage, ("streaks", "melanoma"), ())
        engine, batches = Engine(Machine("cpu", "float64")), Batches(config, images, images, Share())
        network = IndicatorNetwork(config.model.network, plan.tasks, ())
        engine.prepare(network)
        iteration = Iteration(engine, batches, plan, Subnetworks(network, stage, engine), 0.5)
        (material,) = batches.load(plan, 0, 1)
        losses.append(iteration.train(0, material, None)["classification"])
    assert losses[1] - losses[0] > 1e-4
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]))
