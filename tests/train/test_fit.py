import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biounet_edge.errors import CheckpointError, DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from train.checkpoint import load_model
from train.config.run import TrainConfig, load_config
from train.data.dataset import ImageSet, normalise
from train.engine import Machine
from train.fit import fit
from train.run import Silence

REPOSITORY = Path(__file__).parents[2]


def test_a_run_leaves_a_model_that_says_what_it_is(finished: Path) -> None:
    model, info = load_model(finished)
    assert info.epochs == {"pretrain-1": 1, **dict.fromkeys(INDICATORS, 2)}
    assert info.network.base_width == 4
    assert set(info.operating_points) == set(INDICATORS)
    assert info.data[0].startswith("rendered: 42 train, 18 validation")
    assert model.fusion_head.weight.abs().sum() > 0
    assert not list(finished.rglob("*.tmp"))


def test_encoders_differ_after_algorithm_1(finished: Path) -> None:
    model, _ = load_model(finished)
    first, second = (model.network(name).encoder.conv1.weight for name in ("streaks", "globules"))
    assert not torch.equal(first, second)


def test_metrics_hold_every_epoch(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines].count("streaks") == 2
    losses = next(line["losses"] for line in lines if line["stage"] == "streaks")
    assert set(losses) == {"contrastive", "classification", "segmentation"}


def test_checkpoint_stores_shared_convolutions_once(finished: Path) -> None:
    names = set(load_file(finished / "model.safetensors"))
    assert "networks.streaks.encoder.layer1.0.conv1.weight" in names
    assert "networks.streaks.heatmap_paths.streaks.encoder.layer1.0.conv1.weight" not in names
    assert "networks.streaks.heatmap_paths.streaks.encoder.layer1.0.bn1.weight" in names


@pytest.mark.slow
def test_worker_processes_change_nothing(
    finished: Path, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    """In a process of its own: workers are forks, and a fork of this process lacks its libraries' threads."""
    command = [sys.executable, "-m", "train", "fit", str(config_path), "--data-root", str(data_root)]
    command += ["--device", "cpu", "--workers", "1", "--run", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True, timeout=300)
    other, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", finished))
    assert all(torch.equal(other[name], expected[name]) for name in expected)


def test_patience_ends_a_stage_early(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    text = config_path.read_text().replace(
        "[indicator]\nepochs = 2", "[indicator]\npatience = 1\nepochs = 30"
    )
    config_path.write_text(text)
    fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    _, info = load_model(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for indicator in INDICATORS:
        scores = [line["score"] for line in lines if line["stage"] == indicator]
        assert len(scores) == info.epochs[indicator] < 30
        # The last epoch is the only one that brought nothing better.
        assert max(scores[:-1]) >= scores[-1]
        assert scores[:-1] == sorted(set(scores[:-1]))


BRANCH = """
[[pretrain]]
epochs = 1
iterations = 2
contrastive_batch = 0
classification_batch = 4
segmentation_batch = 0

[[pretrain]]
start = "pretrain-1"
epochs = 0
iterations = 1
segmentation_batch = 0

[indicator]
epochs = 0"""


def test_the_encoders_begin_with_the_mean_of_the_soup(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    text = config_path.read_text().replace("[indicator]\nepochs = 2", BRANCH)
    config_path.write_text(text.replace("seed = ", 'soup = ["pretrain-2", "pretrain-3"]\nseed = '))
    fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    first, second, third = (
        load_file(tmp_path / "run" / "stages" / f"pretrain-{number}.safetensors") for number in (1, 2, 3)
    )
    model, _ = load_model(tmp_path / "run")
    begun = model.network("streaks").state_dict()
    for name in ("encoder.conv1.weight", "encoder.bn1.running_mean", "encoder.layer4.2.conv3.weight"):
        assert torch.equal(third[name], first[name])
        assert not torch.equal(second[name], first[name])
        torch.testing.assert_close(begun[name], (second[name] + third[name]) / 2)


SIX_TASKS = """
encoders = [["pigment_network", "negative_network", "streaks", "milia_like_cyst", "globules", "melanoma"]]
"""


def test_one_encoder_for_all_tasks_trains_and_loads(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    text = config_path.read_text().replace("heatmap_size_px = 32\n", "heatmap_size_px = 32" + SIX_TASKS)
    config_path.write_text(text.replace("iterations = 2", "iterations = 5"))
    fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    model, info = load_model(tmp_path / "run")
    assert [network.localised for network in model.all_networks()] == [INDICATORS]
    assert list(info.epochs) == ["pretrain-1", "+".join(INDICATORS)]
    stems = [model.network("streaks").heatmap_path(name).encoder.conv1.weight for name in INDICATORS]
    assert not torch.equal(stems[0], stems[1])


def test_virtual_adversarial_training_runs_without_f_clr_and_f_seg(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    head, _ = config_path.read_text().split("[[pretrain]]")
    stage = (
        "epochs = 1\niterations = 2\ncontrastive_batch = 0\nclassification_batch = 4\nsegmentation_batch = 0"
    )
    config_path.write_text(f"{head}\n[indicator]\n{stage}\nadversarial = {{ batch = 2 }}\n")
    fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]["losses"]) == {"classification"}
    assert not load_model(tmp_path / "run")[1].segmentation


def test_bfloat16_is_refused_for_virtual_adversarial_training(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    config_path.write_text(config_path.read_text() + "adversarial = { batch = 2 }\n")
    with pytest.raises(InputError, match="moves pixels by less than bfloat16 can tell apart"):
        fit(
            load_config(config_path),
            config_path,
            data_root,
            tmp_path / "run",
            Silence(),
            Machine(precision="bfloat16"),
        )


def test_the_plan_comes_first_and_alone_where_asked(
    config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    lines: list[str] = []

    class Listener(Silence):
        def message(self, text: str) -> None:
            lines.append(text)

    assert fit(config, config_path, data_root, tmp_path / "run", Listener(), plan_only=True) is None
    assert not (tmp_path / "run").exists()
    text = "\n".join(lines)
    assert "Dataset A: 42 training and 18 validation images, 0 held out" in text
    assert "5 x 2 epochs of 2 iterations (f_CLR 4, f_Res 4, f_Seg 2)" in text
    assert "18 of 60 images are validation or test images of Dataset A, they are left out" in text
    assert lines[-1].startswith("estimated time of the whole run: 0:00:")


def test_the_run_folder_says_where_it_ran(finished: Path) -> None:
    (start,) = json.loads((finished / "run.json").read_text())["starts"]
    assert start["seed"] == 3
    assert torch.__version__.startswith(start["packages"]["torch"])
    assert start["machine"]["precision"] == "float32"
    assert len(start["git_revision"]) >= 40
    assert list((finished / "tensorboard").iterdir())


def test_no_validation_image_is_an_error_before_training(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    config_path.write_text(config_path.read_text().replace("validation = 0.3", "validation = 0.0"))
    with pytest.raises(DatasetError, match="need validation images of a source that validates"):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())


def test_missing_masks_are_found_before_training(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    table_only = config_path.read_text().replace('layout = "isic2018_task2"', 'layout = "table"')
    config_path.write_text(table_only)
    with pytest.raises(
        DatasetError, match="f_Seg needs masks of pigment_network, but no training image has one"
    ):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    assert not (tmp_path / "run").exists()


def test_masks_that_supervise_must_be_there(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    text = config_path.read_text().replace('layout = "isic2018_task2"', 'layout = "table"')
    text = text.replace("segmentation_batch = 2", "segmentation_batch = 0\nmask_supervision = 1.0")
    text = text.replace("base_width = 4", "base_width = 4\nskip_features = true")
    config_path.write_text(text)
    with pytest.raises(DatasetError, match="mask_supervision needs masks, but no training image has one"):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    assert not (tmp_path / "run").exists()


def test_familiarity_needs_more_images_than_axes(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    text = config_path.read_text().replace("base_width = 4", "base_width = 4\nfamiliarity_axes = 200")
    config_path.write_text(text)
    with pytest.raises(DatasetError, match=r"more than 200 training images with a diagnosis, there are \d+;"):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())
    assert not (tmp_path / "run").exists()


def test_unknown_keys_are_named(config_path: Path) -> None:
    config_path.write_text(config_path.read_text().replace("iterations = 2\n", "iteration = 2\n", 1))
    with pytest.raises(InputError, match=r"pretrain\.0\.iteration"):
        load_config(config_path)


def test_missing_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no configuration at"):
        load_config(tmp_path / "none.toml")


def test_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="expected a checkpoint at"):
        load_model(tmp_path / "none")


def test_a_sidecar_that_is_no_description_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((finished / "model.safetensors").read_bytes())
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"does not describe a model: .*; network: Field required.*"
    ) as raised:
        load_model(tmp_path)
    assert "\n" not in str(raised.value)


def test_checkpoint_of_another_width_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((finished / "model.safetensors").read_bytes())
    sidecar = (finished / "model.json").read_text().replace('"base_width": 4', '"base_width": 8')
    (tmp_path / "model.json").write_text(sidecar)
    with pytest.raises(CheckpointError, match="does not fit this network"):
        load_model(tmp_path)


def test_a_trained_model_classifies_alike_when_loaded(
    finished: Path, data_root: Path, config: TrainConfig
) -> None:
    from train.data.records import read_source

    images = ImageSet(read_source(config.data.annotated[0], data_root), 64, cache=False)
    (first, _), (second, _) = load_model(finished), load_model(finished / "model.safetensors")
    pixels = normalise(images.images([0, 1]))
    assert torch.equal(first.network("streaks").classify(pixels), second.network("streaks").classify(pixels))
