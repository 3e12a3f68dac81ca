from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from torch import Tensor

from biounet_edge.indicators import INDICATORS
from train.data.dataset import normalise
from train.evaluation.cams import class_activation_maps
from train.evaluation.methods import Method, choose_methods
from train.evaluation.report import METHODS
from train.evaluation.superpixels import Lime
from train.gradcam import stack_heatmaps
from train.network import BioUNet

ALL = choose_methods(METHODS, lime_samples=40, seed=0)
EACH_METHOD = pytest.mark.parametrize("method", list(ALL.values()), ids=list(ALL))


def photographs(count: int = 3) -> Tensor:
    """Smooth noise, so that superpixels are larger than pixels."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    fine = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear", align_corners=False)
    return (255 * fine).to(torch.uint8).movedim(1, -1)


def four_colours() -> Tensor:
    """One image with a colour in each quarter, and a little noise."""
    image = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    image[:, :48, :48] = torch.tensor([200, 40, 40], dtype=torch.uint8)
    image[:, :48, 48:] = torch.tensor([40, 200, 40], dtype=torch.uint8)
    image[:, 48:, :48] = torch.tensor([40, 40, 200], dtype=torch.uint8)
    image[:, 48:, 48:] = torch.tensor([220, 220, 40], dtype=torch.uint8)
    noise = torch.randint(0, 30, image.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    return image + noise


@EACH_METHOD
def test_maps_are_of_the_size_of_the_image_and_in_the_unit_interval(model: BioUNet, method: Method) -> None:
    maps = method(model.network("streaks"), photographs(), "streaks")
    assert maps.shape == (3, 64, 64)
    assert maps.dtype == np.float32
    assert 0 <= maps.min() < maps.max() <= 1


@EACH_METHOD
def test_a_batch_equals_its_single_images(model: BioUNet, method: Method) -> None:
    network, images = model.network("streaks"), photographs()
    together, alone = method(network, images, "streaks"), method(network, images[1:2], "streaks")
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


@EACH_METHOD
def test_two_images_have_two_maps(model: BioUNet, method: Method) -> None:
    first, second, _ = method(model.network("globules"), photographs(), "globules")
    assert not np.allclose(first, second, atol=1e-4)


@EACH_METHOD
def test_indicators_of_one_encoder_have_maps_of_their_own(multitask_model: BioUNet, method: Method) -> None:
    images = photographs()
    maps = [method(multitask_model.network(name), images, name) for name in INDICATORS]
    assert not any(np.allclose(a, b, atol=1e-4) for a, b in combinations(maps, 2))


@pytest.mark.parametrize("indicator", ["streaks", "globules"])
def test_grad_cam_equals_that_of_the_package(model: BioUNet, indicator: str) -> None:
    network, images = model.network(indicator), photographs()
    ours = ALL["grad_cam"](network, images, indicator)
    low = ours.min((1, 2), keepdims=True)
    # The package subtracts the minimum of a map as well.
    expected = (ours - low) / (1 - low)
    np.testing.assert_allclose(
        class_activation_maps(GradCAM, network, images, indicator), expected, atol=1e-4
    )


def test_layer_cam_weighs_activations_by_positive_classifier_weights(multitask_model: BioUNet) -> None:
    """Behind the last bottleneck come only the mean and the linear layer: the gradient is weight / area."""
    network, images = multitask_model.network("globules"), photographs()
    activation = network.encoder(normalise(images)).activations[-1]
    weights = torch.relu(network.classification_head.weight[network.tasks.index("globules")])
    raw = torch.einsum("k,nkhw->nhw", weights, activation)
    maps = stack_heatmaps([raw - raw.amin((1, 2), keepdim=True)], 64)[:, 0].numpy()
    np.testing.assert_allclose(ALL["layer_cam"](network, images, "globules"), maps, atol=1e-4)


def test_baselines_leave_no_hooks_on_the_network(model: BioUNet) -> None:
    network = model.network("streaks")
    ALL["grad_cam_plus_plus"](network, photographs(1), "streaks")
    assert not any(module._forward_hooks for module in network.modules())


def test_lime_repeats_with_its_seed(model: BioUNet) -> None:
    network, image = model.network("streaks"), four_colours()
    first, again, other = (Lime(30, seed)(network, image, "streaks") for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_lime_finds_where_the_evidence_is() -> None:
    """A classifier that sees nothing but texture in the upper left; what LIME hides has no texture."""

    def classify(pixels: Tensor) -> Tensor:
        return 5 * pixels[:, :1, :32, :32].flatten(2).std(2)

    weight = torch.zeros(1)
    network = SimpleNamespace(
        tasks=("streaks",), classify=classify, classification_head=SimpleNamespace(weight=weight)
    )
    (found,) = Lime(200, 0)(network, four_colours(), "streaks")  # type: ignore[arg-type]
    assert found[:32, :32].mean() > 0.5
    assert found[56:, 56:].mean() < 0.05


def test_lime_draws_no_progress_bar(model: BioUNet, capfd: pytest.CaptureFixture[str]) -> None:
    Lime(20, 0)(model.network("streaks"), photographs(1), "streaks")
    assert capfd.readouterr() == ("", "")
