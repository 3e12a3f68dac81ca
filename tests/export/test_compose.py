"""The composed graphs at work: any batch size, images independent of each other, levels that agree."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from biounet_edge.bundle.folder import Bundle
from biounet_edge.indicators import INDICATORS
from export.parity import run_graph
from train.data.dataset import normalise
from train.gradcam import divide_by_maximum, explain, stack_heatmaps
from train.network import BioUNet

TOLERANCE = 1e-3
"""Of heatmaps and masks, for float32 on both sides, whose ReLU masks may switch by rounding."""


@pytest.fixture
def images(bundle: Path) -> NDArray[np.uint8]:
    return Bundle.open(bundle).golden().image[:3]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_full_graph_computes_what_pytorch_in_float32_computes(
    bundle: Path, images: NDArray[np.uint8], small_model: BioUNet, batch: int
) -> None:
    actual = run_graph(bundle / "full.onnx", image=images[:batch])
    pixels = normalise(torch.from_numpy(images[:batch]))
    features = []
    for index, name in enumerate(INDICATORS):
        network = small_model.network(name)
        explanation = explain(network.encoder, network.classification_head, pixels, 0)
        features.append(explanation.features)
        probability = torch.sigmoid(explanation.logits[:, 0])
        heatmap = divide_by_maximum(explanation.raw_heatmaps[-1])
        mask = torch.sigmoid(network.segment(stack_heatmaps(explanation.raw_heatmaps, 96), name))
        np.testing.assert_allclose(actual["indicator_probability"][:, index], probability, atol=1e-5)
        np.testing.assert_allclose(actual["heatmap"][:, index], heatmap, atol=TOLERANCE)
        np.testing.assert_allclose(actual["mask_probability"][:, index], mask, atol=TOLERANCE)
    probability, contribution = small_model.fusion_head(torch.stack(features, dim=1))
    np.testing.assert_allclose(actual["melanoma_probability"], probability, atol=1e-5)
    np.testing.assert_allclose(actual["melanoma_contribution"], contribution, atol=1e-4)


def test_contributions_and_bias_sum_to_the_logit(bundle: Path, images: NDArray[np.uint8]) -> None:
    outputs = run_graph(bundle / "classify.onnx", image=images)
    melanoma = Bundle.open(bundle).manifest.melanoma
    logit = outputs["melanoma_contribution"].sum(1) + melanoma.bias
    probability = 1 / (1 + np.exp(-logit / melanoma.temperature))
    np.testing.assert_allclose(outputs["melanoma_probability"], probability, atol=1e-6)


def test_a_batch_gives_what_its_images_give_alone(bundle: Path, images: NDArray[np.uint8]) -> None:
    together = run_graph(bundle / "full.onnx", image=images)
    for index in range(len(images)):
        alone = run_graph(bundle / "full.onnx", image=images[index : index + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][index], value[0], atol=TOLERANCE, err_msg=name)


def test_levels_agree_on_what_they_share(bundle: Path, images: NDArray[np.uint8]) -> None:
    full = run_graph(bundle / "full.onnx", image=images)
    for level in ("classify", "cam"):
        for name, value in run_graph(bundle / f"{level}.onnx", image=images).items():
            np.testing.assert_allclose(value, full[name], atol=1e-6, err_msg=name)


def test_different_images_give_different_heatmaps(bundle: Path, images: NDArray[np.uint8]) -> None:
    heatmap = run_graph(bundle / "full.onnx", image=images)["heatmap"]
    assert heatmap.any()
    assert not np.allclose(heatmap[0], heatmap[1], atol=0.1)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_components_have_the_promised_inputs_and_outputs(bundle: Path, part: str) -> None:
    arguments = {"encoder": ("pixels", (2, 3, 64, 64)), "decoder": ("heatmaps", (2, 12, 96, 96))}
    name, shape = arguments[part]
    outputs = run_graph(bundle / f"{part}_streaks.onnx", **{name: np.ones(shape, np.float32)})
    shapes = {name: value.shape for name, value in outputs.items()}
    assert (
        shapes
        == {
            "encoder": {
                "features": (2, 256),
                "logits": (2, 2),
                "heatmap": (2, 2, 2),
                "heatmap_scale": (2,),
                "heatmaps": (2, 12, 96, 96),
            },
            "decoder": {"mask_probability": (2, 64, 64)},
        }[part]
    )
