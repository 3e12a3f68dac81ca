from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.errors import InputError
from biounet_edge.indicators import INDICATORS
from train.checkpoint import ModelInfo, load_model, save_model
from train.cli.main import app
from train.config.run import load_config
from train.data.dataset import MEAN, STD, ImageSet
from train.data.held_out import held_out
from train.evaluation.methods import grad_cam
from train.network import BioUNet, NetworkConfig
from train.tables.panel_figure import draw_panel
from train.tables.panels import Example, ExplainedMap, explain_examples

TOPOLOGY = NetworkConfig(base_width=4, image_size_px=64, heatmap_size_px=32)

CONFIG = """
seed = 1
initial_weights = "random"

[model]
base_width = 4
image_size_px = 64
heatmap_size_px = 32

[data]
split_seed = {split_seed}

[[data.annotated]]
name = "rendered"
layout = "{layout}"
images = "ISIC2018_Task1-2_Training_Input"
table = "diagnosis.csv"
columns = {{ lesion = "lesion_id", diagnosis = "melanoma" }}
validation = 0.1
test = {test}
{masks}

[indicator]
epochs = 1
iterations = 1
"""

MASKS = 'masks = "ISIC2018_Task2_Training_GroundTruth_v3"'

runner = CliRunner()


def _write_run(
    folder: Path,
    row: str,
    seed: int = 1,
    split_seed: int = 0,
    test: float = 0.5,
    layout: str = "isic2018_task2",
) -> Path:
    """A finished run of random weights."""
    torch.manual_seed(seed)
    info = ModelInfo(
        name="tiny",
        row=row,
        network=TOPOLOGY,
        segmentation=row == "bio_u_net",
        mean=MEAN,
        std=STD,
        melanoma_threshold=0.5,
        operating_points={indicator: OperatingPoint(presence=0.5, mask=0.5) for indicator in INDICATORS},
        data=[],
        licence="Apache-2.0",
        notice=None,
        seed=seed,
        config="tiny.toml",
        figures={},
        epochs={},
        versions={},
    )
    save_model(folder, BioUNet(TOPOLOGY), info)
    masks = MASKS if layout == "isic2018_task2" else ""
    text = CONFIG.format(split_seed=split_seed, test=test, layout=layout, masks=masks)
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def vat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_run(tmp_path_factory.mktemp("runs") / "vat", "vat")


def _map(truth: np.ndarray, value: float = 0.5) -> ExplainedMap:
    return ExplainedMap("Grad-CAM\nVAT", np.full(truth.shape, value, np.float32), truth)


def _example(truth: np.ndarray, value: float = 0.5) -> Example:
    image = np.full((*truth.shape, 3), 120, np.uint8)
    return Example("streaks", "ISIC_1", image, [_map(truth, value), _map(truth, value)])


def _truth(corner: int) -> np.ndarray:
    truth = np.zeros((32, 32), bool)
    truth[corner : corner + 8, corner : corner + 8] = True
    return truth


def _picture(path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_panel_has_the_papers_methods_in_the_order_of_the_runs(tmp_path: Path, data_root: Path) -> None:
    runs = [_write_run(tmp_path / row, row) for row in ("f_res", "vat", "bio_u_net")]
    examples = explain_examples(runs, data_root, lime_samples=4)
    assert [example.indicator for example in examples] == [
        "globules",
        "milia_like_cyst",
        "negative_network",
        "pigment_network",
        "streaks",
    ]
    assert [shown.title for shown in examples[0].maps] == [
        "Grad-CAM\nf_Res",
        "Grad-CAM++\nf_Res",
        "Layer-CAM\nf_Res",
        "LIME\nf_Res",
        "Grad-CAM\nVAT",
        "Grad-CAM\nBio-U-Net",
        "decoder\nBio-U-Net",
    ]


def test_panel_shows_the_maps_of_the_runs_own_model(vat: Path, data_root: Path) -> None:
    examples = explain_examples([vat], data_root)
    model, _ = load_model(vat)
    for example in examples:
        images = torch.from_numpy(example.image)[None]
        expected = grad_cam(model.network(example.indicator), images, example.indicator)[0]
        np.testing.assert_array_equal(example.maps[0].heatmap, expected)
    assert any(example.maps[0].heatmap.any() for example in examples)


def test_panel_truths_are_filled_and_differ_between_images(vat: Path, data_root: Path) -> None:
    examples = explain_examples([vat], data_root, images_per_indicator=2)
    for first, second in zip(examples[::2], examples[1::2], strict=True):
        assert first.indicator == second.indicator
        assert first.image_id != second.image_id
        assert first.maps[0].truth.any()
        assert not np.array_equal(first.maps[0].truth, second.maps[0].truth)


def test_panel_truth_is_the_mask_of_its_image(vat: Path, data_root: Path) -> None:
    records = held_out(load_config(vat / "config.toml"), data_root, "test", "rendered")
    for example in explain_examples([vat], data_root):
        images = ImageSet([r for r in records if r.image_id == example.image_id], 64, cache=False)
        assert np.array_equal(example.maps[0].truth, images.masks([0], example.indicator)[0].numpy() > 0)


def test_panel_shows_only_what_every_run_holds_out(tmp_path: Path, data_root: Path) -> None:
    runs = [_write_run(tmp_path / str(seed), "vat", seed, split_seed=seed) for seed in (1, 2)]
    held = [
        {r.image_id for r in held_out(load_config(run / "config.toml"), data_root, "test", "rendered")}
        for run in runs
    ]
    assert held[0] != held[1]
    shown = {example.image_id for example in explain_examples(runs, data_root, images_per_indicator=20)}
    assert shown
    assert shown <= held[0] & held[1]


def test_panel_draws_by_its_seed(vat: Path, data_root: Path) -> None:
    drawn = [[e.image_id for e in explain_examples([vat], data_root, seed=seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_panel_shows_other_images_for_other_indicators(vat: Path, data_root: Path) -> None:
    shown = [example.image_id for example in explain_examples([vat], data_root)]
    assert len(set(shown)) == len(shown) == 5


def test_panel_tells_runs_of_one_row_apart(tmp_path: Path, data_root: Path) -> None:
    runs = [_write_run(tmp_path / str(seed), "vat", seed) for seed in (1, 2)]
    examples = explain_examples(runs, data_root)
    assert [shown.title for shown in examples[0].maps] == ["Grad-CAM\nVAT, seed 1", "Grad-CAM\nVAT, seed 2"]


def test_map_is_judged_as_it_is() -> None:
    heatmap = np.array([[0.5, 0.25], [0.0, 0.25]], np.float32)
    truth = np.array([[True, False], [False, False]])
    # Overlap 0.5, c = 0.5: 2 x 0.5 / (0.5 x 1 + 1) is two thirds.
    assert ExplainedMap("", heatmap, truth).continuous_dice == pytest.approx(2 / 3)


def test_draw_panel_has_a_line_an_example_and_a_column_a_map(tmp_path: Path) -> None:
    output = tmp_path / "pictures" / "panel.png"
    draw_panel([_example(_truth(4)), _example(_truth(16))], output)
    # 4 columns and 2 lines of 1.5 inches with their margins, at 150 dots an inch.
    assert _picture(output).shape == (666, 1050, 3)


@pytest.mark.parametrize("corner", [0, 28], ids=["at the edge", "beyond the edge"])
def test_draw_panel_outlines_masks_at_the_edge(tmp_path: Path, corner: int) -> None:
    truth = _truth(corner)
    truth[1:-1, 1:-1] &= corner == 0
    draw_panel([_example(truth)], tmp_path / "panel.png")
    picture = _picture(tmp_path / "panel.png").astype(int)
    red = (picture[..., 2] > 200) & (picture[..., :2].max(-1) < 100)
    assert red.any() == (corner == 0)


def test_draw_panel_shows_the_truth_of_each_image(tmp_path: Path) -> None:
    draw_panel([_example(_truth(4), 0.0), _example(_truth(16), 0.0)], tmp_path / "panel.png")
    picture = _picture(tmp_path / "panel.png")
    _, _, boxes, _ = cv2.connectedComponentsWithStats((picture < 5).all(-1).astype(np.uint8))
    # The truth of each line is white on black, and nothing else is as large and black; box 0 is the rest.
    large = [box for box in boxes[1:] if min(box[2:4]) > 100]
    centres = []
    for x, y, width, height, _ in large:
        white = (picture[y : y + height, x : x + width] > 250).all(-1)
        centres.append(np.argwhere(white).mean(0) / white.shape)
    np.testing.assert_allclose(centres, [(8 / 32, 8 / 32), (20 / 32, 20 / 32)], atol=0.02)


def test_panel_refuses_runs_that_hold_nothing_out_together(tmp_path: Path, data_root: Path) -> None:
    runs = [
        _write_run(tmp_path / "all", "vat", test=0.02, split_seed=1),
        _write_run(tmp_path / "one", "vat", test=0.02, split_seed=2),
    ]
    with pytest.raises(InputError, match="hold out no image of rendered in common"):
        explain_examples(runs, data_root)


def test_panel_refuses_data_without_masks(tmp_path: Path, data_root: Path) -> None:
    run = _write_run(tmp_path / "vat", "vat", layout="table")
    with pytest.raises(InputError, match="has a filled mask; name another --source"):
        explain_examples([run], data_root)


def test_panel_refuses_a_folder_that_is_no_run(tmp_path: Path, data_root: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run folder with config\.toml at"):
        explain_examples([tmp_path], data_root)
    with pytest.raises(InputError, match="at least one run"):
        explain_examples([], data_root)


def test_panel_command_writes_the_picture(vat: Path, tmp_path: Path, data_root: Path) -> None:
    output = tmp_path / "panel.png"
    result = runner.invoke(app, ["panel", str(vat), "--data-root", str(data_root), "--output", str(output)])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(output)
    assert _picture(output).shape[1] == 825
