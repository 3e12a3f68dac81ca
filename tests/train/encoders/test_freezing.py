"""Frozen blocks of every family, and batch norm over several processes."""

import pytest
import torch
from torch import nn

from tests.train.encoders.families import config_of, families, make
from train.algorithm import Subnetworks
from train.batch_norm import SharedBatchNorm, synchronise_batch_norm
from train.config.stages import StageConfig
from train.encoders import HEATMAPS, Family
from train.engine import Engine, Machine
from train.network import IndicatorNetwork


def step(network: IndicatorNetwork) -> None:
    """One update of f_Res, and one of f_Seg, on random images."""
    stage = StageConfig(epochs=1, iterations=1, contrastive_batch=0)
    engine = Engine(Machine("cpu"))
    subnetworks = Subnetworks(network, stage, engine)
    network.train()
    engine.update(*subnetworks.part("classification"), torch.randn(4, 3, 64, 64), lambda out: out.mean())
    heatmaps = torch.rand(4, HEATMAPS, 32, 32)
    engine.update(*subnetworks.part("segmentation-streaks"), heatmaps, lambda out: out.square().mean())


@families
@pytest.mark.parametrize("blocks", [3, 16])
def test_frozen_blocks_stay_as_they_are_while_the_rest_learns(family: Family, blocks: int) -> None:
    torch.manual_seed(2)
    network = IndicatorNetwork(config_of(family), ("streaks", "melanoma"))
    network.freeze(blocks)
    frozen = {f"{id(m)}.{k}": v for m in network.encoder.first(blocks) for k, v in m.state_dict().items()}
    kept = {key: value.clone() for key, value in frozen.items()}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step(network)
    assert any(key.endswith("running_var") for key in kept)
    assert all(torch.equal(frozen[key], kept[key]) for key in kept)
    places = {value.data_ptr() for value in frozen.values()}
    rest = {k: v for k, v in network.state_dict().items() if v.data_ptr() not in places}
    untrained = ("projection_head", "mask_head")
    still = [k for k, v in rest.items() if torch.equal(v, before[k]) and not k.startswith(untrained)]
    assert still == []


@families
def test_a_network_that_was_evaluated_keeps_its_frozen_blocks_in_evaluation_mode(family: Family) -> None:
    network = IndicatorNetwork(config_of(family), ("streaks", "melanoma"))
    network.freeze(2)
    network.eval()
    network.train()
    modes = [module.training for module in network.encoder.blocks()]
    assert modes == [False, False] + [True] * (network.encoder.BLOCKS - 2)
    assert not any(module.training for module in network.encoder.stem())


@families
def test_batch_norm_over_processes_computes_like_that_of_one(family: Family) -> None:
    encoder, pixels = make(family).eval(), torch.randn(2, 3, 64, 64)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            # Variances so small that another epsilon shows.
            nn.init.uniform_(module.running_var, 1e-3, 1e-2)
    with torch.no_grad():
        before = encoder(pixels).skips[0]
        synchronise_batch_norm(encoder, torch.device("cpu"))
        after = encoder(pixels).skips[0]
    assert any(isinstance(module, SharedBatchNorm) for module in encoder.modules())
    torch.testing.assert_close(after, before)


@families
def test_batch_norm_over_processes_stays_frozen(family: Family) -> None:
    network = IndicatorNetwork(config_of(family), ("streaks", "melanoma"))
    network.freeze(2)
    synchronise_batch_norm(network, torch.device("cpu"))
    network.train()
    frozen = [m for part in network.encoder.first(2) for m in part.modules()]
    assert any(isinstance(module, SharedBatchNorm) for module in frozen)
    assert not any(weight.requires_grad for module in frozen for weight in module.parameters())
