from dataclasses import fields

import pytest
import torch

from train.encoders.resnet50 import BOTTLENECKS
from train.flops import count, count_flops
from train.network import NetworkConfig

SMALL = NetworkConfig(base_width=8, image_size_px=64, heatmap_size_px=32)


def _convolution_gigaflops(channels_in: int, channels_out: int, kernel: int, size_px: int) -> float:
    return 2 * channels_in * channels_out * kernel**2 * size_px**2 / 1e9


def _encoder_gigaflops(channels_in: int, width: int, size_px: int) -> float:
    """ResNet-50 without its classifier, added up convolution by convolution from He et al.'s table 1."""
    total = _convolution_gigaflops(channels_in, width, 7, size_px // 2)
    channels, size = width, size_px // 4
    for stage, blocks in enumerate(BOTTLENECKS):
        narrow = width * 2**stage
        for block in range(blocks):
            before = size
            if stage and not block:
                size //= 2
            total += _convolution_gigaflops(channels, narrow, 1, before)
            total += _convolution_gigaflops(narrow, narrow, 3, size)
            total += _convolution_gigaflops(narrow, 4 * narrow, 1, size)
            if not block:
                total += _convolution_gigaflops(channels, 4 * narrow, 1, size)
            channels = 4 * narrow
    return total


def test_count_is_two_for_a_multiply_add_of_one_convolution() -> None:
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False, device="meta")
    pixels = torch.empty(2, 3, 8, 10, device="meta")
    # 2 images x 80 pixels x 5 channels, each 3 x 3 x 3 multiply-adds.
    assert count(lambda: convolution(pixels)) == pytest.approx(2 * 2 * 80 * 5 * 27 / 1e9)


def test_count_holds_the_backward_pass() -> None:
    linear = torch.nn.Linear(7, 3, bias=False, device="meta")
    features = torch.empty(2, 7, device="meta", requires_grad=True)
    # One product forward, one for the gradient of the input, one for that of the weight.
    assert count(lambda: linear(features).sum().backward()) == pytest.approx(3 * 2 * 2 * 7 * 3 / 1e9)


def test_count_knows_groups_forward_and_backward() -> None:
    depthwise = torch.nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False, device="meta")
    pixels = torch.empty(2, 6, 8, 10, device="meta", requires_grad=True)
    # 2 images x 80 pixels x 6 channels, each 3 x 3 multiply-adds: forward, and for either gradient.
    assert count(lambda: depthwise(pixels).sum().backward()) == pytest.approx(3 * 2 * 2 * 80 * 6 * 9 / 1e9)


def test_lite0_costs_what_is_published() -> None:
    config = NetworkConfig(32, 224, 224, family="efficientnet_lite0")
    flops = count_flops(config)
    # 407 million multiply-adds with the classifier's 1.3: the release's table.
    assert flops.encoder_forward == pytest.approx(2 * 0.407, rel=0.06)
    stem = _convolution_gigaflops(3, 32, 3, 112)
    head = 2 * config.features * len(config.encoders[0]) / 1e9
    assert flops.classification_update == pytest.approx(3 * (flops.encoder_forward + head) - stem, rel=1e-9)


@pytest.mark.parametrize("config", [NetworkConfig(), SMALL], ids=["full", "small"])
def test_encoder_forward_is_the_sum_of_its_convolutions(config: NetworkConfig) -> None:
    expected = _encoder_gigaflops(3, config.base_width, config.image_size_px)
    assert count_flops(config).encoder_forward == pytest.approx(expected, rel=1e-9)


def test_full_width_costs_what_is_documented() -> None:
    flops = count_flops(NetworkConfig(heatmap_size_px=512))
    assert flops.encoder_forward == pytest.approx(42.7, rel=0.01)
    assert flops.decoder_forward == pytest.approx(42.4, rel=0.01)
    assert flops.grad_cam == pytest.approx(42.7 + 39.1, rel=0.01)


def test_segmentation_forward_is_its_encoder_and_its_decoder() -> None:
    flops = count_flops(SMALL)
    encoder = _encoder_gigaflops(12, SMALL.base_width, SMALL.heatmap_size_px)
    assert flops.segmentation_forward == pytest.approx(encoder + flops.decoder_forward, rel=1e-9)


def test_updates_cost_three_forwards_but_for_the_gradient_of_the_pixels() -> None:
    flops = count_flops(SMALL)
    stem = _convolution_gigaflops(3, SMALL.base_width, 7, SMALL.image_size_px // 2)
    head = 2 * SMALL.features * len(SMALL.encoders[0]) / 1e9
    expected = 3 * (flops.encoder_forward + head) - stem
    assert flops.classification_update == pytest.approx(expected, rel=1e-9)


def test_contrastive_update_has_two_views() -> None:
    flops = count_flops(SMALL)
    stem = _convolution_gigaflops(3, SMALL.base_width, 7, SMALL.image_size_px // 2)
    head = 2 * SMALL.features * (SMALL.features + 128) / 1e9
    assert flops.contrastive_update == pytest.approx(
        2 * (3 * (flops.encoder_forward + head) - stem), rel=1e-9
    )


def test_iteration_adds_every_update_and_grad_cam() -> None:
    flops = count_flops(SMALL)
    parts = (flops.contrastive_update, flops.classification_update, flops.segmentation_update, flops.grad_cam)
    assert flops.iteration == pytest.approx(sum(parts))


def test_a_network_that_names_melanoma_first_is_counted() -> None:
    joint = NetworkConfig(8, 64, 32, (("melanoma", *(tasks[0] for tasks in SMALL.encoders)),))
    own, shared = count_flops(SMALL), count_flops(joint)
    assert [getattr(shared, f.name) for f in fields(shared)] == pytest.approx(
        [getattr(own, f.name) for f in fields(own)], rel=1e-3
    )
