"""What every encoder family has to do."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.train.encoders.families import EXPECTED, config_of, families, make, settled
from train.encoders import FAMILIES, HEATMAPS, Family, share_convolutions
from train.gradcam import explain
from train.network import IndicatorNetwork


def test_every_family_is_tested() -> None:
    assert set(EXPECTED) == set(FAMILIES)


@families
def test_skips_activations_and_features_have_their_shapes(family: Family) -> None:
    expected, encoder = EXPECTED[family], make(family).eval()
    with torch.no_grad():
        encoding = encoder(torch.randn(2, 3, 64, 64))
    assert tuple(encoding.features.shape) == (2, expected.features)
    assert [tuple(s.shape[1:]) for s in encoding.skips] == [(c, s, s) for c, s in expected.skips]
    assert [tuple(a.shape[1:]) for a in encoding.activations] == [(c, s, s) for c, s in expected.activations]
    assert len(encoding.activations) == HEATMAPS


@families
def test_channels_are_known_before_an_encoder_is_built(family: Family) -> None:
    expected, kind = EXPECTED[family], FAMILIES[family]
    assert kind.features(expected.base_width) == expected.features
    assert kind.skip_channels(expected.base_width) == tuple(channels for channels, _ in expected.skips)
    assert len(make(family).blocks()) == kind.BLOCKS


@families
def test_stem_and_blocks_hold_every_layer_but_those_after_the_last_skip(family: Family) -> None:
    encoder = make(family, pooled=False)
    held = {id(w) for module in encoder.first(encoder.BLOCKS) for w in module.parameters()}
    assert held == {id(weight) for weight in encoder.parameters()}
    assert encoder.first(0) == []


@families
def test_an_encoder_without_features_gives_the_same_skips(family: Family) -> None:
    whole, bare = make(family).eval(), make(family, pooled=False, seed=1).eval()
    bare.load_state_dict({k: v for k, v in whole.state_dict().items() if k in bare.state_dict()})
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for skip, expected in zip(bare(pixels).skips, whole(pixels).skips, strict=True):
            assert torch.equal(skip, expected)


@families
def test_every_explained_block_has_a_heatmap(family: Family) -> None:
    encoder, head = settled(family), nn.Linear(EXPECTED[family].features, 2)
    # A ReLU may leave one map empty, but not that of a logit and that of its opposite.
    head.weight.data[1] = -head.weight.data[0]
    pixels = torch.randn(2, 3, 64, 64)
    maps = [explain(encoder, head, pixels, task).raw_heatmaps for task in (0, 1)]
    assert [len(of_task) for of_task in maps] == [HEATMAPS, HEATMAPS]
    sizes = [size for _, size in EXPECTED[family].activations]
    for one, opposite, size in zip(*maps, sizes, strict=True):
        assert one.shape == (2, size, size)
        assert (one + opposite).amax() > 1e-6


@families
def test_a_batch_equals_its_single_images(family: Family) -> None:
    encoder, pixels = settled(family), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        whole = encoder(pixels).features
        parts = torch.cat([encoder(image[None]).features for image in pixels])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1])


@families
@pytest.mark.parametrize("blocks", [0, 6, 16])
def test_features_are_the_pooled_output_and_the_means_of_the_later_skips(family: Family, blocks: int) -> None:
    encoder, pixels = settled(family), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = encoder(pixels)
        assert torch.equal(encoder.crown(encoder.trunk(pixels, blocks), blocks), plain.features)
        encoder.skip_features = True
        features = encoder(pixels).features
        assert torch.equal(encoder.crown(encoder.trunk(pixels, blocks), blocks), features)
    means = [skip.mean((2, 3)) for skip in plain.skips if skip.shape[-1] <= 8]
    assert len(means) == 3
    assert torch.equal(features, torch.cat([plain.features, *means], dim=1))
    config = replace(config_of(family), skip_features=True)
    assert features.shape[1] == config.features


@families
def test_the_mask_head_says_of_a_place_what_the_logit_says_of_all(family: Family) -> None:
    torch.manual_seed(5)
    network = IndicatorNetwork(replace(config_of(family), skip_features=True), ("streaks", "melanoma"))
    network.eval()
    head, masks = network.classification_head, network.mask_head
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        masks.gain.fill_(2.0)
        masks.offset.fill_(-1.0)
        head.weight[:, : network.config.features - sum(masks.channels)] = 0
        places = masks(network.encoder(pixels).skips, head.weight[:1])
        assert places.shape == (2, 1, 8, 8)
        # Interpolation joins three sizes and moves their means: one size at a time.
        for kept in range(3):
            weight = head.weight.clone()
            start = network.config.features - sum(masks.channels[kept:])
            weight[:, :start] = 0
            weight[:, start + masks.channels[kept] :] = 0
            encoding = network.encoder(pixels)
            score = (masks(encoding.skips, weight[:1]) + 1) / 2
            stride = 2**kept
            if stride == 1:
                torch.testing.assert_close(score.mean((1, 2, 3)), encoding.features @ weight[0])
            else:
                corners = score[:, :, :: 8 - 1, :: 8 - 1]  # which interpolation leaves as they are
                skip = encoding.skips[2 + kept]
                channels = weight[0, start : start + masks.channels[kept]]
                own = torch.einsum("nchw,c->nhw", skip, channels)[:, None]
                torch.testing.assert_close(corners, own[:, :, :: own.shape[2] - 1, :: own.shape[3] - 1])


@families
def test_random_convolutions_have_hes_variance(family: Family) -> None:
    for name, module in make(family).named_modules():
        if isinstance(module, nn.Conv2d):
            # Each input reaches the outputs of its own group.
            fan_out = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            spread = float(module.weight.detach().std()) / math.sqrt(2 / fan_out)
            assert spread == pytest.approx(1, abs=5 / math.sqrt(2 * module.weight.numel())), name


@families
def test_shared_convolutions_are_all_but_the_stem(family: Family) -> None:
    source, target = make(family), make(family, HEATMAPS, pooled=False, seed=1)
    own = {id(weight) for weight in source.parameters()}
    share_convolutions(source, target)
    for name, module in target.named_modules():
        if isinstance(module, nn.Conv2d):
            assert (id(module.weight) in own) == (name != target.STEM), name
        if isinstance(module, nn.BatchNorm2d):
            assert id(module.weight) not in own, name
    stem = target.get_submodule(target.STEM)
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == HEATMAPS
