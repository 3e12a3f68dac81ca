"""What an iteration does to a network."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.conftest import Interruption
from train.algorithm import ExplainedEncoder, HeatmapCache, Iteration, Subnetworks, _turn, one_cycle
from train.config.run import TrainConfig
from train.config.stages import AdversarialConfig, StageConfig
from train.data.batches import Batches, Material, Plan, Segmented, Share
from train.data.dataset import ImageSet
from train.data.records import read_source
from train.engine import Engine, Machine
from train.fit import fit
from train.losses import soft_dice
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


def supervised_losses(
    config: TrainConfig, images: ImageSet, weight: float, augment: str
) -> tuple[float, IndicatorNetwork]:
    """Loss of one f_Res update whose masks weigh so much, and the network after it."""
    torch.manual_seed(0)
    stage = StageConfig(
        epochs=1,
        iterations=1,
        contrastive_batch=0,
        classification_batch=8,
        segmentation_batch=0,
        augment=augment,  # type: ignore[arg-type]
        mask_supervision=weight,
    )
    plan = Plan("x", stage, ("streaks", "globules", "melanoma"), ())
    engine, batches = Engine(Machine("cpu", "float64")), Batches(config, images, images, Share())
    network = IndicatorNetwork(replace(config.model.network, skip_features=True), plan.tasks, ())
    before = copy.deepcopy(network.mask_head.state_dict())
    engine.prepare(network)
    iteration = Iteration(engine, batches, plan, Subnetworks(network, stage, engine), 0.5)
    (material,) = batches.load(plan, 0, 1)
    loss = iteration.train(0, material, None)["classification"]
    moved = any(
        not torch.equal(tensor, before[k].double()) for k, tensor in network.mask_head.state_dict().items()
    )
    assert moved == (weight > 0)
    return loss, network


@pytest.mark.parametrize("augment", ["none", "strong"])
def test_masks_supervise_the_encoder_by_their_weight(
    config: TrainConfig, data_root: Path, augment: str
) -> None:
    images = ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=True)
    losses, networks = zip(*(supervised_losses(config, images, w, augment) for w in (0, 1, 3)), strict=True)
    assert losses[1] - losses[0] > 0.01
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]))
    assert not torch.equal(networks[0].encoder.conv1.weight, networks[1].encoder.conv1.weight)


@pytest.mark.parametrize(
    ("done", "part"),
    [
        (0.0, 0.0),
        (0.05, 0.5),
        (0.1, 1.0),
        (0.325, 0.5 * (1 + math.sqrt(0.5))),
        (0.55, 0.5),
        (0.775, 0.5 * (1 - math.sqrt(0.5))),
        (1.0, 0.0),
    ],
)
def test_one_cycle_rises_in_a_line_and_falls_by_half_a_cosine(done: float, part: float) -> None:
    assert one_cycle(done) == pytest.approx(part, abs=1e-12)


def stage_of(config: TrainConfig, **optimizer: object) -> StageConfig:
    changed = config.indicator.optimizer.model_copy(update=optimizer)
    return config.indicator.model_copy(update={"optimizer": changed})


def rates_of(subnetworks: Subnetworks) -> list[float]:
    return [group["lr"] for group in subnetworks.part("classification")[1].param_groups]


def test_one_cycle_goes_over_all_iterations_of_a_stage(config: TrainConfig) -> None:
    stage = stage_of(config, schedule="one_cycle", encoder_learning_rate=1e-5, learning_rate=1e-4)
    stage = stage.model_copy(update={"epochs": 3, "iterations": 3})
    network = IndicatorNetwork(config.model.network, ("streaks", "melanoma"))
    subnetworks = Subnetworks(network, stage, Engine(Machine("cpu")))
    parts = []
    for iteration in range(9):
        subnetworks.set_learning_rate(stage, iteration)
        of_encoder, of_head = rates_of(subnetworks)
        assert of_encoder == pytest.approx(of_head / 10)
        parts.append(of_head / 1e-4)
    # Nine iterations between nothing and nothing: a tenth of the way, two tenths, ... nine tenths.
    expected = [0.5 * (1 + math.cos(math.pi * i / 9)) for i in range(9)]
    assert parts == pytest.approx(expected)


def test_decoupled_decay_shrinks_the_weights_apart_from_the_gradient(config: TrainConfig) -> None:
    stage = stage_of(config, decoupled=True, learning_rate=0.1, weight_decay=0.5)
    network = IndicatorNetwork(config.model.network, ("streaks", "melanoma"))
    _, optimizer = Subnetworks(network, stage, Engine(Machine("cpu"))).part("classification")
    before = network.classification_head.weight.detach().clone()
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    # Without a gradient Adam itself moves nothing: AdamW multiplies by 1 - 0.1 * 0.5.
    torch.testing.assert_close(network.classification_head.weight.detach(), 0.95 * before)


def test_frozen_weights_have_no_optimizer(config: TrainConfig) -> None:
    network = IndicatorNetwork(config.model.network, ("streaks", "melanoma"))
    network.freeze(2)
    subnetworks = Subnetworks(network, config.indicator, Engine(Machine("cpu")))
    frozen = {id(weight) for module in network.encoder.first(2) for weight in module.parameters()}
    for optimizer in subnetworks.optimizers.values():
        trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        assert trained
        assert not trained & frozen


def segmented(indices: list[int], indicator: str = "streaks", size_px: int = 8) -> Segmented:
    images = torch.stack([torch.full((size_px, size_px, 3), index, dtype=torch.uint8) for index in indices])
    views = [0] * len(indices)
    return Segmented(indicator, indices, views, images, torch.zeros(len(indices), size_px, size_px))


def test_the_cache_computes_the_heatmaps_of_an_image_once() -> None:
    asked: list[list[int]] = []

    def compute(images: torch.Tensor) -> torch.Tensor:
        asked.append(images[:, 0, 0, 0].tolist())
        return images[:, :1, :1, :1].float().expand(-1, 12, 4, 4) / 16

    cache = HeatmapCache()
    first = cache.get(segmented([3, 1]), compute)
    second = cache.get(segmented([1, 5, 3]), compute)
    third = cache.get(segmented([5, 3]), compute)
    assert asked == [[3, 1], [5, 5]]  # a lone image is one of two: a batch of one may round otherwise
    assert [h[:, 0, 0, 0].tolist() for h in (first, second, third)] == [
        [3 / 16, 1 / 16],
        [1 / 16, 5 / 16, 3 / 16],
        [5 / 16, 3 / 16],
    ]
    assert first.dtype == torch.float32


def test_the_cache_keeps_the_heatmaps_of_each_indicator() -> None:
    cache = HeatmapCache()
    cache.get(segmented([1]), lambda images: torch.zeros(1, 12, 4, 4))
    other = cache.get(segmented([1], "globules"), lambda images: torch.ones(1, 12, 4, 4))
    assert other.unique().tolist() == [1.0]


def test_cached_heatmaps_are_those_of_the_encoder_but_for_half_precision(
    config: TrainConfig, data_root: Path
) -> None:
    iteration, material, explained = segmentation(config, data_root, HeatmapCache())
    (part,) = material.segmentation
    plain = replace(iteration, cache=None)._heatmaps(part, explained)
    assert plain.amax() == 1
    for _ in range(2):
        # Half precision has 11 bits.
        torch.testing.assert_close(iteration._heatmaps(part, explained), plain, rtol=2**-11, atol=2**-24)


def segmentation(
    config: TrainConfig, data_root: Path, cache: HeatmapCache | None = None, **changes: object
) -> tuple[Iteration, Material, ExplainedEncoder]:
    """An iteration that trains f_Seg alone, its material, and E3."""
    torch.manual_seed(0)
    update = {"contrastive_batch": 0, "classification_batch": 0, "segmentation_batch": 8, **changes}
    stage = config.indicator.model_copy(update=update)
    plan = Plan("x", stage, ("streaks", "melanoma"), ("streaks",))
    images = ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=True)
    engine, batches = Engine(Machine("cpu")), Batches(config, images, images, Share())
    network = IndicatorNetwork(config.model.network, plan.tasks)
    network.encoder(torch.randn(8, 3, 64, 64))
    iteration = Iteration(engine, batches, plan, Subnetworks(network, stage, engine), 0.5, cache)
    (material,) = batches.load(plan, 0, 1)
    return iteration, material, ExplainedEncoder.copy_of(network)


def test_heatmaps_and_masks_are_turned_alike(config: TrainConfig, data_root: Path) -> None:
    iteration, _, _ = segmentation(config, data_root)
    # A mask, and heatmaps at half its size that are this mask reduced: they still are after they are turned.
    masks = torch.rand(8, 64, 64, generator=torch.Generator().manual_seed(1)).round()
    heatmaps = torch.nn.functional.avg_pool2d(masks[:, None], 2).expand(-1, 12, -1, -1)
    turned, truth = iteration._turned(heatmaps, masks, 4, 0)
    torch.testing.assert_close(turned[:, 5], torch.nn.functional.avg_pool2d(truth[:, None], 2)[:, 0])
    assert not torch.equal(truth, masks)


def test_turns_are_the_eight_symmetries_of_the_square() -> None:
    square = torch.arange(9).view(3, 3)
    turned = [_turn(square, number) for number in range(8)]
    assert len({tuple(map_.flatten().tolist()) for map_ in turned}) == 8
    for map_ in turned:
        assert map_[1, 1] == 4
        assert sorted(map_[::2, ::2].flatten().tolist()) == [0, 2, 6, 8]


def test_turns_are_drawn_anew_in_each_update_and_again_the_same(config: TrainConfig, data_root: Path) -> None:
    iteration, _, _ = segmentation(config, data_root)
    masks = torch.rand(8, 64, 64, generator=torch.Generator().manual_seed(1))
    draws = [
        iteration._turned(masks[:, None], masks, *place)[1] for place in ((3, 0), (3, 0), (3, 1), (4, 0))
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_turns_of_two_processes_are_those_of_one(config: TrainConfig, data_root: Path) -> None:
    whole, _, _ = segmentation(config, data_root)
    masks = torch.rand(8, 64, 64, generator=torch.Generator().manual_seed(1))
    halves = []
    for rank, part in enumerate(masks.split(4)):
        batches = Batches(config, whole.batches.annotated, whole.batches.unlabelled, Share(rank, 2))
        halves.append(replace(whole, batches=batches)._turned(part[:, None], part, 2, 0)[1])
    assert torch.equal(torch.cat(halves), whole._turned(masks[:, None], masks, 2, 0)[1])


def test_cross_entropy_is_added_by_its_weight(config: TrainConfig, data_root: Path) -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.0, 3.0]]])
    truth = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    losses = []
    for weight in (0.0, 0.5):
        iteration, _, _ = segmentation(config, data_root, segmentation_cross_entropy=weight)
        losses.append(float(iteration._segmentation_loss(logits, truth)))
    p = [1 / (1 + math.exp(-z)) for z in (2.0, -1.0, 0.0, 3.0)]
    expected = -(math.log(p[0]) + math.log(1 - p[1]) + math.log(p[2]) + math.log(1 - p[3])) / 4
    assert losses[0] == pytest.approx(float(soft_dice(torch.sigmoid(logits), truth)))
    assert losses[1] - losses[0] == pytest.approx(0.5 * expected, rel=1e-5)


def test_f_seg_alone_leaves_the_encoder_as_it_is(config: TrainConfig, data_root: Path) -> None:
    iteration, material, explained = segmentation(config, data_root, HeatmapCache(), augment="mild")
    network = iteration.subnetworks.network
    network.freeze(16)
    iteration = replace(iteration, subnetworks=Subnetworks(network, iteration.plan.stage, iteration.engine))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert set(iteration.train(0, material, explained)) == {"segmentation"}
    after = network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items() if k.startswith("encoder."))
    for name in ("conv1.weight", "bn1.running_mean", "layer4.2.bn3.weight"):
        name = f"heatmap_paths.streaks.encoder.{name}"
        assert not torch.equal(after[name], before[name])
