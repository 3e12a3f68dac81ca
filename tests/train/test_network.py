import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from biounet_edge.indicators import INDICATORS
from train.encoders import HEATMAPS
from train.encoders.resnet50 import ResNet50
from train.network import BioUNet, FusionHead, IndicatorNetwork, NetworkConfig

SMALL = NetworkConfig(base_width=8, image_size_px=64, heatmap_size_px=32)


def test_encoder_takes_torchvision_weights_and_gives_its_features() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None).eval()
    encoder = ResNet50().eval()
    weights = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    encoder.load_state_dict(weights)
    reference.fc = torch.nn.Identity()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        # The same operators in the same order, but for the pooling, a mean here and AdaptiveAvgPool there.
        torch.testing.assert_close(encoder(pixels).features, reference(pixels), rtol=1e-5, atol=1e-5)


def test_encoder_explains_the_last_three_bottlenecks_of_each_stage() -> None:
    encoding = ResNet50(base_width=8).eval()(torch.randn(1, 3, 64, 64))
    assert [tuple(a.shape[1:]) for a in encoding.activations] == (
        [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3 + [(128, 4, 4)] * 3 + [(256, 2, 2)] * 3
    )
    assert len(encoding.activations) == HEATMAPS


def test_heatmap_path_shares_convolutions_but_not_batch_norm() -> None:
    network = IndicatorNetwork(SMALL, ("streaks", "melanoma"))
    own, shared = network.encoder, network.heatmap_path("streaks").encoder
    assert shared.layer3[1].conv2.weight is own.layer3[1].conv2.weight
    assert shared.layer2[0].downsample[0].weight is own.layer2[0].downsample[0].weight
    assert shared.layer3[1].bn2.weight is not own.layer3[1].bn2.weight
    assert tuple(shared.conv1.weight.shape) == (8, 12, 7, 7)


def test_segmentation_updates_the_encoder_but_not_its_batch_norm() -> None:
    network = IndicatorNetwork(SMALL, ("streaks", "melanoma"))
    mean = network.encoder.layer4[2].bn3.running_mean.clone()
    network.segment(torch.rand(2, 12, 32, 32), "streaks").sum().backward()
    assert network.encoder.layer4[2].conv3.weight.grad.abs().sum() > 0
    assert torch.equal(network.encoder.layer4[2].bn3.running_mean, mean)
    assert network.encoder.conv1.weight.grad is None


def test_masks_have_the_size_of_the_image() -> None:
    network = IndicatorNetwork(SMALL, ("streaks", "melanoma"))
    assert network.segment(torch.rand(2, 12, 32, 32), "streaks").shape == (2, 64, 64)


def test_fusion_contributions_and_bias_sum_to_the_logit() -> None:
    torch.manual_seed(1)
    head = FusionHead(16)
    for weight in head.parameters():
        torch.nn.init.uniform_(weight, 0.1, 0.9)
    probability, contributions = head(torch.randn(4, 5, 16))
    expected = torch.sigmoid((contributions.sum(1) + head.bias) / head.temperature)
    torch.testing.assert_close(probability, expected)
    assert contributions.abs().min() > 0


SIX_TASKS = NetworkConfig(8, 64, 32, ((*INDICATORS, "melanoma"),))


def test_a_multi_task_model_localises_every_indicator_with_one_encoder() -> None:
    model = BioUNet(SIX_TASKS)
    assert len(model.all_networks()) == 1
    network = model.network("globules")
    assert network is model.network("streaks")
    assert network.localised == INDICATORS
    first, second = (network.heatmap_path(task).encoder.layer3[1] for task in ("streaks", "globules"))
    assert first.conv2.weight is second.conv2.weight
    assert first.bn2.weight is not second.bn2.weight
    assert tuple(model.fusion_head.weight.shape) == (1, SIX_TASKS.features)


def test_an_indicator_belongs_to_the_encoder_it_leads() -> None:
    config = NetworkConfig(encoders=(("streaks", "globules"), ("globules", "milia_like_cyst")))
    assert [config.owner(name) for name in ("streaks", "globules", "milia_like_cyst")] == [0, 1, 1]
    assert config.localised(1) == ("milia_like_cyst", "globules")


@pytest.mark.parametrize("width", [4, 12])
def test_widths_scale_every_layer(width: int) -> None:
    model = BioUNet(NetworkConfig(base_width=width, image_size_px=64, heatmap_size_px=64))
    network = model.network("globules")
    assert network.classification_head.in_features == 32 * width
    assert network.heatmap_path("globules").decoder.blocks[0].conv2.out_channels == 4 * width


def test_full_width_costs_the_documented_gigaflops() -> None:
    with torch.device("meta"):
        network = IndicatorNetwork(NetworkConfig(), ("streaks", "melanoma")).eval()
        pixels = torch.empty(1, 3, 512, 512)
        full, half = (torch.empty(1, HEATMAPS, size, size) for size in (512, network.config.heatmap_size_px))
    gigaflops = []
    for compute in (
        lambda: network.classify(pixels),
        lambda: network.segment(full, "streaks"),
        lambda: network.segment(half, "streaks"),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            compute()
        gigaflops.append(counter.get_total_flops() / 1e9)
    assert gigaflops == pytest.approx([42.7, 88.8, 22.2], abs=0.05)
