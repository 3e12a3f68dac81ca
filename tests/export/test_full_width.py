"""The whole encoder at the paper's size: ResNet-50, base width 64, 512 x 512 pixels.

A random network would prove little: many of its heatmaps are all zero, and of the others float32 itself is
uncertain (autograd in float32 is up to 4e-2 from float64). So the encoder starts as residual networks are
trained, with a small last scale in each block, and learns for some seconds to tell nets from dots.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.components import DecoderModule, EncoderModule, write_decoder, write_encoder
from export.parity import FINEST, run_graph
from export.weights import write_graphs
from train.encoders import HEATMAPS
from train.encoders.resnet50 import Bottleneck
from train.gradcam import Explanation, explain, stack_heatmaps
from train.network import IndicatorNetwork, NetworkConfig

pytestmark = pytest.mark.slow

SIZE_PX = 512
LEARNING_SIZE_PX = 64
STEPS = 20
BATCH = 8

LAST_SCALE = 0.1
"""Of the last batch norm of each bottleneck. Goyal et al. 2017, arXiv:1706.02677, section 5.1, start at 0."""


def draw(count: int, size_px: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pixels (count, 3, size_px, size_px): a brown spot with a net (label 1) or with dots (label 0)."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.linspace(-1, 1, size_px)
    y, x = rows[:, None], rows[None, :]
    images, labels = [], []
    for index in range(count):
        shift = torch.rand(2, generator=generator) * 0.6 - 0.3
        frequency = 25 + 15 * torch.rand((), generator=generator)
        spot = torch.sigmoid(8 * (0.6 - ((y - shift[0]) ** 2 + (x - shift[1]) ** 2).sqrt()))
        waves = torch.sin(frequency * (x + y)), torch.sin(frequency * (x - y))
        net, dots = torch.maximum(*waves).clamp_min(0), (waves[0] * waves[1]).clamp_min(0)
        texture = net if index % 2 else dots
        grey = 1 - spot - 0.8 * spot * texture + 0.1 * torch.randn(size_px, size_px, generator=generator)
        images.append(torch.stack([grey, 0.8 * grey - 0.2, 0.6 * grey - 0.4]))
        labels.append(float(index % 2))
    return torch.stack(images), torch.tensor(labels)


def train(network: IndicatorNetwork) -> None:
    """A few steps on small images, then running statistics at the full size."""
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, LAST_SCALE)
    optimizer = torch.optim.Adam(
        [*network.encoder.parameters(), *network.classification_head.parameters()], lr=3e-4
    )
    network.train()
    for step in range(STEPS):
        pixels, labels = draw(BATCH, LEARNING_SIZE_PX, seed=step)
        logits = network.classify(pixels)
        loss = functional.binary_cross_entropy_with_logits(logits, torch.stack([labels, 1 - labels], dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    settle(network.encoder, draw(2, SIZE_PX, seed=STEPS)[0])


def settle(module: nn.Module, example: Tensor) -> None:
    """Set the running statistics of batch norm to those of an example."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    with torch.no_grad():
        module.train()(example)
    module.eval()


@dataclass(frozen=True)
class FullWidth:
    """The trained network, its graphs, and what PyTorch answers about three images."""

    network: IndicatorNetwork
    folder: Path
    pixels: Tensor
    """Shape (3, 3, 512, 512)."""
    explanation: Explanation
    heatmaps: NDArray[np.float32]
    """By float32 autograd, shape (3, 12, 512, 512)."""
    exact: NDArray[np.float64]
    """By float64 autograd."""


@pytest.fixture(scope="module")
def full_width(tmp_path_factory: pytest.TempPathFactory) -> FullWidth:
    torch.manual_seed(0)
    network = IndicatorNetwork(
        NetworkConfig(base_width=64, heatmap_size_px=SIZE_PX), ("indicator", "melanoma")
    )
    train(network)
    network.requires_grad_(False).eval()
    pixels, _ = draw(3, SIZE_PX, seed=STEPS + 1)
    explanation = explain(network.encoder, network.classification_head, pixels, 0)
    heatmaps = stack_heatmaps(explanation.raw_heatmaps, SIZE_PX)
    settle(network.heatmap_path("indicator"), heatmaps)

    folder = tmp_path_factory.mktemp("full_width")
    encoder = write_encoder(EncoderModule(network), network.config)
    decoder = write_decoder(DecoderModule(network), network.config)
    write_graphs({"encoder.onnx": encoder, "decoder.onnx": decoder}, folder)
    return FullWidth(network, folder, pixels, explanation, heatmaps.numpy(), exact_heatmaps(network, pixels))


def exact_heatmaps(network: IndicatorNetwork, pixels: Tensor) -> NDArray[np.float64]:
    encoder, head = deepcopy(network.encoder).double(), deepcopy(network.classification_head).double()
    single = [explain(encoder, head, image[None].double(), 0).raw_heatmaps for image in pixels]
    return np.concatenate([stack_heatmaps(raw, SIZE_PX).numpy() for raw in single])


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_all_heatmaps_are_those_of_autograd(full_width: FullWidth, batch: int) -> None:
    actual = run_graph(full_width.folder / "encoder.onnx", pixels=full_width.pixels[:batch].numpy())
    heatmaps = actual["heatmaps"]
    expected, exact = full_width.heatmaps[:batch], full_width.exact[:batch]

    assert expected.any(axis=(2, 3)).all(), "every compared heatmap must show something"
    difference, error, own = (
        np.abs(one - other).max(axis=(0, 2, 3))
        for one, other in ((heatmaps, expected), (heatmaps, exact), (expected, exact))
    )
    # A heatmap divided by its maximum carries about 2e-6 times its cancellation (see export/parity.py). Down
    # to the three finest the gradient passes 13 more blocks of ReLU masks, which may switch where an
    # activation is zero but for rounding.
    gates = np.where(np.arange(HEATMAPS) < FINEST, 1e-3, 1e-4)
    assert (error <= gates).all()
    # PyTorch's float32 may be further from float64 than the graph is: 1.3e-4 was seen, and 2e-5 of the graph.
    assert (own <= 10 * gates).all()
    assert (difference <= gates + own).all()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_probabilities_and_masks_are_those_of_pytorch(full_width: FullWidth, batch: int) -> None:
    encoded = run_graph(full_width.folder / "encoder.onnx", pixels=full_width.pixels[:batch].numpy())
    probability = torch.sigmoid(torch.from_numpy(encoded["logits"])).numpy()
    expected = torch.sigmoid(full_width.explanation.logits[:batch]).numpy()
    # A logit of size 1 to 10 carries about 1e-6 through 50 layers; the sigmoid's slope is at most 1/4.
    assert np.abs(probability - expected).max() <= 1e-5

    decoded = run_graph(full_width.folder / "decoder.onnx", heatmaps=encoded["heatmaps"])
    with torch.no_grad():
        stack = torch.from_numpy(full_width.heatmaps[:batch])
        mask = torch.sigmoid(full_width.network.segment(stack, "indicator")).numpy()
    # The mask is computed from twelve heatmaps that may each be off by 1e-3.
    assert mask.std() > 0.01
    assert np.abs(decoded["mask_probability"] - mask).max() <= 1e-3


def test_two_images_have_two_different_stacks_of_heatmaps(full_width: FullWidth) -> None:
    heatmaps = run_graph(full_width.folder / "encoder.onnx", pixels=full_width.pixels[:2].numpy())["heatmaps"]
    assert heatmaps.shape == (2, HEATMAPS, SIZE_PX, SIZE_PX)
    assert (np.abs(heatmaps[0] - heatmaps[1]).max(axis=(1, 2)) > 0.1).all()
