"""A run of EfficientNet-Lite0 with everything that the demo's recipe has: stages of their own size, averaged
weights, frozen blocks, masks that supervise, f_Seg alone over cached heatmaps, and begun with another's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biounet_edge.indicators import INDICATORS
from tests.train.conftest import CONFIG, Halt
from train.checkpoint import load_model, load_tensors
from train.config.run import TrainConfig, load_config
from train.data.dataset import ImageSet, normalise
from train.data.records import read_annotated
from train.data.splits import split_records
from train.engine import Machine
from train.evaluation.probabilities import predict
from train.fit import fit
from train.fusion import extract_features
from train.initial_weights import initialise
from train.run import Silence
from train.tasks import TASKS

OPTIMIZER = (
    "{ learning_rate = 1e-3, encoder_learning_rate = 5e-4, weight_decay = 1e-2, decoupled = true, "
    'schedule = "one_cycle", gradient_norm = 5.0 }'
)

STAGES = f"""
[[pretrain]]
epochs = 2
iterations = 2
contrastive_batch = 0
classification_batch = 4
segmentation_batch = 0
image_size_px = 64
augment = "strong"
balance = 0.5
mask_supervision = 1.0
averaging = 0.9
optimizer = {OPTIMIZER}

[indicator]
epochs = 1
iterations = 2
contrastive_batch = 0
classification_batch = 4
segmentation_batch = 0
augment = "strong"
balance = 0.5
averaging = 0.9
frozen_blocks = 11
optimizer = {OPTIMIZER}

[segmentation]
epochs = 2
iterations = 3
contrastive_batch = 0
classification_batch = 0
segmentation_batch = 4
segmentation_cross_entropy = 0.3
augment = "strong"
averaging = 0.9
frozen_blocks = 16
optimizer = {OPTIMIZER}
"""

ENCODERS = """
encoders = [["pigment_network", "negative_network", "streaks", "melanoma"],
            ["milia_like_cyst", "globules", "melanoma"]]
"""


def lite0_config(folder: Path) -> Path:
    """Two encoders, which take less time than five and each have several indicators."""
    head, _ = CONFIG.split("[[pretrain]]")
    family = 'family = "efficientnet_lite0"\nbase_width = 32\ndecoder_width = 16\nskip_features = true'
    family += "\nfamiliarity_axes = 3"
    head = head.replace("base_width = 4", family)
    head = head.replace("image_size_px = 64", "image_size_px = 96")
    head = head.replace("heatmap_size_px = 32\n", "heatmap_size_px = 64" + ENCODERS)
    head = 'segmentation_starts = { streaks = "globules" }\n' + head
    head = head.replace("validation = 0.3", 'validation = 0.3\nstratify = "findings"')
    path = folder / "lite0.toml"
    path.write_text(head + STAGES, encoding="utf-8")
    return path


@pytest.fixture
def lite0_path(tmp_path: Path) -> Path:
    return lite0_config(tmp_path)


@pytest.fixture(scope="module")
def lite0(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained without interruption."""
    folder = tmp_path_factory.mktemp("lite0")
    path = lite0_config(folder)
    fit(load_config(path), path, data_root, folder / "run", Silence())
    return folder / "run"


def weights_of(file: Path) -> dict[str, Tensor]:
    return load_file(file)


NAMES = ("pigment_network+negative_network+streaks", "milia_like_cyst+globules")


def test_every_stage_trains_and_is_described(lite0: Path) -> None:
    model, info = load_model(lite0)
    each = {name: epochs for n in NAMES for name, epochs in ((n, 1), (f"{n}-masks", 2))}
    assert info.epochs == {"pretrain-1": 2, **each}
    assert info.segmentation
    assert info.network.family == "efficientnet_lite0"
    assert set(info.presence_temperatures) == set(info.presence_shifts) == set(INDICATORS)
    assert [network.localised for network in model.all_networks()] == [INDICATORS[:3], INDICATORS[3:]]
    lines = [json.loads(line) for line in (lite0 / "metrics.jsonl").read_text().splitlines()]
    masks = [line for line in lines if line["stage"] == f"{NAMES[0]}-masks"]
    assert [set(line["losses"]) for line in masks] == [{"segmentation"}] * 2
    assert "auc_streaks" not in masks[0]


def test_familiarity_is_fitted_and_most_photographs_pass(lite0: Path, data_root: Path) -> None:
    model, info = load_model(lite0)
    assert model.familiarity is not None
    assert info.familiarity_threshold is not None
    config = load_config(lite0.parent / "lite0.toml")
    split = split_records(read_annotated(config.data, data_root), config.data.split_seed)
    images = ImageSet(split["train"], config.model.image_size_px, cache=False)
    features = torch.from_numpy(extract_features(model, images, list(range(len(images)))))
    scores = model.familiarity(features)
    assert (scores >= info.familiarity_threshold).float().mean() > 0.5


def test_frozen_blocks_are_those_of_the_stage_before(lite0: Path) -> None:
    pretrained = weights_of(lite0 / "stages" / "pretrain-1.safetensors")
    trained = weights_of(lite0 / "stages" / f"{NAMES[0]}.safetensors")
    own = {k: v for k, v in trained.items() if k.startswith("encoder.") and not k.endswith("tracked")}
    frozen = {k for k in own if k.split(".")[1] in ("conv_stem", "bn_stem") or is_row(k, range(11))}
    assert all(torch.equal(own[name], pretrained[name]) for name in frozen)
    learnt = {k for k in own if not torch.equal(own[k], pretrained[k])}
    assert learnt == set(own) - frozen


def is_row(name: str, rows: range) -> bool:
    _, first, *rest = name.split(".")
    return first == "row" and int(rest[0]) in rows


def test_f_seg_alone_leaves_encoder_and_heads_as_they_were(lite0: Path) -> None:
    before = weights_of(lite0 / "stages" / f"{NAMES[1]}.safetensors")
    after = weights_of(lite0 / "stages" / f"{NAMES[1]}-masks.safetensors")
    kept = {k for k in after if k.startswith(("encoder.", "classification_head."))}
    assert all(torch.equal(after[name], before[name]) for name in kept if not name.endswith("tracked"))
    changed = {k for k in after if k.startswith("heatmap_paths.") and not torch.equal(after[k], before[k])}
    stems = {f"heatmap_paths.{name}.encoder.conv_stem.weight" for name in INDICATORS[3:]}
    assert stems <= changed


def test_kept_weights_are_the_moving_average(
    lite0_path: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[torch.nn.Module] = []
    averages: list[dict[str, Tensor]] = []

    def remember(network: torch.nn.Module, *rest: Any) -> list[str]:
        networks.append(network)
        return initialise(network, *rest)  # type: ignore[arg-type]

    class Average(Halt):
        """0.9 of the average before and 0.1 of the weights, after each iteration but the first."""

        def advance(self, count: int = 1) -> None:
            if self.training and self.left > 1:
                now = {k: v.detach().clone() for k, v in networks[0].state_dict().items()}
                before = averages[-1] if averages else now
                averages.append({k: 0.9 * before[k] + 0.1 * now[k] for k in now})
            super().advance(count)

    monkeypatch.setattr("train.stage.initialise", remember)
    with pytest.raises(KeyboardInterrupt):
        fit(load_config(lite0_path), lite0_path, data_root, tmp_path / "run", Average(5))
    kept, state = load_tensors(tmp_path / "run" / "stages" / "pretrain-1.safetensors")
    assert len(averages) == 4
    expected = averages[2 * state["best_epoch"] - 1]
    for name, weight in kept.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(averages[0]["encoder.conv_stem.weight"], kept["encoder.conv_stem.weight"])


def often() -> Machine:
    return Machine(checkpoint_minutes=0)


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [2, 6, 10, 16])
def test_a_stopped_run_ends_like_an_uninterrupted_one(
    iterations: int, lite0: Path, lite0_path: Path, data_root: Path, tmp_path: Path
) -> None:
    # Four iterations of pretraining; two of f_Res for each of the two encoders; six of f_Seg for the second,
    # and for the first, which has one that begins with the second's.
    config = load_config(lite0_path)
    with pytest.raises(KeyboardInterrupt):
        fit(config, lite0_path, data_root, tmp_path / "run", Halt(iterations), often())
    _, position = load_tensors(tmp_path / "run" / "last.safetensors")
    stages = {2: "pretrain-1", 6: NAMES[0], 10: f"{NAMES[1]}-masks", 16: f"{NAMES[0]}-masks"}
    assert position["stage"] == stages[iterations]
    fit(config, lite0_path, data_root, tmp_path / "run", Silence(), often())
    resumed, expected = (weights_of(folder / "model.safetensors") for folder in (tmp_path / "run", lite0))
    differing = differences(resumed, expected)
    assert differing == {}
    assert (tmp_path / "run" / "model.json").read_text() == (lite0 / "model.json").read_text()


def differences(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, float]:
    """By name, the largest difference of the weights that are not bit-equal."""
    assert some.keys() == others.keys()
    return {
        name: float((some[name].double() - others[name].double()).abs().max())
        for name in some
        if not torch.equal(some[name], others[name])
    }


def test_operating_points_and_calibration_are_those_of_the_validation_images(
    lite0: Path, lite0_path: Path, data_root: Path
) -> None:
    """Slow loops over what the finished model says about its validation images."""
    model, info = load_model(lite0)
    config: TrainConfig = load_config(lite0_path)
    split = split_records(read_annotated(config.data, data_root), config.data.split_seed)
    images = ImageSet(split["validation"], config.model.image_size_px, cache=False)
    answers = predict(model, images.images(range(len(images))))
    melanoma = images.labels[:, TASKS.index("melanoma")].numpy()
    positives = sorted((p for p, t in zip(answers.melanoma, melanoma, strict=True) if t == 1), reverse=True)
    called = sum(p >= info.melanoma_threshold - 1e-6 for p in positives)
    assert called / len(positives) >= 0.9
    assert (called - 1) / len(positives) < 0.9
    for column, indicator in enumerate(INDICATORS):
        point, truth = info.operating_points[indicator].presence, images.labels[:, column].numpy()
        probability = answers.indicators[:, column]
        assert np.isfinite(probability).all()
        if point is not None:
            right = truth[probability >= point - 1e-6]
            assert right.mean() > 0.5


def test_pixels_of_another_size_are_classified_too(lite0: Path) -> None:
    model, _ = load_model(lite0)
    logits = [
        model.network("streaks").classify(normalise(torch.full((1, size, size, 3), 120, dtype=torch.uint8)))
        for size in (64, 96)
    ]
    assert logits[0].shape == logits[1].shape == (1, 4)


def test_the_plan_knows_every_stage_and_its_size(lite0_path: Path, data_root: Path, tmp_path: Path) -> None:
    lines: list[str] = []

    class Listener(Silence):
        def message(self, text: str) -> None:
            lines.append(text)

    fit(load_config(lite0_path), lite0_path, data_root, tmp_path / "run", Listener(), plan_only=True)
    assert lines[1].startswith("tiny: 2 encoders efficientnet_lite0 of base width 32, 96x96 px, on ")
    pretrain, indicator, masks = (line for line in lines if " epochs of " in line)
    assert pretrain.startswith("pretrain-1: 1 x 2 epochs of 2 iterations at 64x64 px (f_Res 4), ")
    assert indicator.startswith(f"Algorithm 1 ({', '.join(NAMES)}): 2 x 1 epochs of 2 iterations (f_Res 4), ")
    assert masks.startswith("f_Seg: 2 x 2 epochs of 3 iterations (f_Seg 4), ")
    # The same four images, of 4 / 9 of the pixels.
    work = [float(line.split("), ")[-1].split()[0]) for line in (pretrain, indicator)]
    assert work[0] / work[1] == pytest.approx(4 / 9, rel=1e-3)


def test_f_seg_alone_is_planned_where_algorithm_1_is_left_out(
    lite0_path: Path, data_root: Path, tmp_path: Path
) -> None:
    text = lite0_path.read_text().replace("[indicator]\nepochs = 1", "[indicator]\nepochs = 0")
    lite0_path.write_text(text)
    lines: list[str] = []

    class Listener(Silence):
        def message(self, text: str) -> None:
            lines.append(text)

    fit(load_config(lite0_path), lite0_path, data_root, tmp_path / "run", Listener(), plan_only=True)
    assert [line.split(":")[0] for line in lines if " epochs of " in line] == ["pretrain-1", "f_Seg"]
