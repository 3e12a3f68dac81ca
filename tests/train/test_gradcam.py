import pytest
import torch
from torch import Tensor

from train.gradcam import divide_by_maximum, explain, stack_heatmaps
from train.network import IndicatorNetwork, NetworkConfig


def settled_network() -> IndicatorNetwork:
    """A small network whose batch norm has seen data, so that its heatmaps are not all zero."""
    torch.manual_seed(0)
    network = IndicatorNetwork(NetworkConfig(8, 64, 64), ("streaks", "melanoma")).double()
    for _ in range(20):
        network.encoder(torch.randn(8, 3, 64, 64, dtype=torch.float64))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> IndicatorNetwork:
    return settled_network()


def image() -> Tensor:
    return torch.randn(3, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def test_alpha_is_the_effect_of_a_whole_channel(network: IndicatorNetwork) -> None:
    """Raising channel k everywhere by epsilon moves the logit by epsilon * H * W * alpha_k."""
    pixels, step = image()[:1], 1e-6
    block = network.encoder.layer3[5]
    kept: dict[str, Tensor] = {}

    def logit(bump: Tensor | None) -> Tensor:
        def hook(module: object, inputs: object, output: Tensor) -> Tensor:
            kept["activation"] = output
            return output if bump is None else output + bump

        handle = block.register_forward_hook(hook)
        with torch.no_grad():
            value = network.classify(pixels)[0, 0]
        handle.remove()
        return value

    plain, activation = logit(None), kept["activation"]
    channels, positions = activation.shape[1], activation[0, 0].numel()
    bumps = torch.eye(channels, dtype=torch.float64).view(channels, 1, channels, 1, 1) * step
    alpha = torch.stack([(logit(bump) - plain) / (step * positions) for bump in bumps])
    by_hand = torch.relu(torch.einsum("k,khw->hw", alpha, activation[0]))
    explained = explain(network.encoder, network.classification_head, pixels, 0).raw_heatmaps[8][0]
    assert by_hand.max() > 0
    # Finite differences cross the odd ReLU.
    torch.testing.assert_close(explained, by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.max()))


def test_last_heatmap_is_the_classifier_weight_over_the_area(network: IndicatorNetwork) -> None:
    encoding = network.encoder(image())
    activation = encoding.activations[-1]
    alpha = network.classification_head.weight[0] / activation[0, 0].numel()
    expected = torch.relu(torch.einsum("k,nkhw->nhw", alpha, activation))
    raw = explain(network.encoder, network.classification_head, image(), 0).raw_heatmaps[-1]
    torch.testing.assert_close(raw, expected)
    assert expected.max() > 0


def test_a_batch_equals_its_single_images(network: IndicatorNetwork) -> None:
    together = explain(network.encoder, network.classification_head, image(), 1).raw_heatmaps
    alone = explain(network.encoder, network.classification_head, image()[1:2], 1).raw_heatmaps
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[1:2], single)
    assert not torch.allclose(together[-1][0], together[-1][1])


def test_no_gradient_leaves_the_explanation(network: IndicatorNetwork) -> None:
    explanation = explain(network.encoder, network.classification_head, image(), 0)
    assert not any(raw.requires_grad for raw in explanation.raw_heatmaps)
    assert all(weight.grad is None for weight in network.parameters())


def test_training_mode_is_refused() -> None:
    network = IndicatorNetwork(NetworkConfig(4, 32, 32), ("streaks", "melanoma"))
    with pytest.raises(ValueError, match=r"call encoder\.eval\(\) first"):
        explain(network.encoder, network.classification_head, torch.zeros(1, 3, 32, 32), 0)


def test_heatmaps_are_divided_by_their_own_maximum() -> None:
    maps = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 2.0], [4.0, 1.0]])])
    assert torch.equal(divide_by_maximum(maps)[0], torch.zeros(2, 2))
    assert torch.equal(divide_by_maximum(maps)[1], torch.tensor([[0.0, 0.5], [1.0, 0.25]]))


def test_stacked_heatmaps_have_one_size_and_maximum_one() -> None:
    generator = torch.Generator().manual_seed(2)
    raw = [torch.rand(2, size, size, generator=generator) for size in (16, 8, 2)]
    stack = stack_heatmaps(raw, 32)
    assert stack.shape == (2, 3, 32, 32)
    assert torch.equal(stack.amax((2, 3)), torch.ones(2, 3))
