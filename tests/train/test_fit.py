import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biounet_edge.errors import CheckpointError, DatasetError, InputError
from biounet_edge.indicators import INDICATORS
from train.algorithm import ExplainedEncoder, Subnetworks
from train.checkpoint import load_model, load_tensors
from train.config import TrainConfig, load_config
from train.data.dataset import ImageSet, normalise
from train.engine import Engine, Machine
from train.fit import fit
from train.network import IndicatorNetwork
from train.run import Run, Silence

REPOSITORY = Path(__file__).parents[2]


class Interruption(Silence):
    """Stops a run at its n-th epoch, as a power cut would."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def message(self, text: str) -> None:
        self.epochs -= " epoch " in text
        if self.epochs == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained without interruption."""
    from tests.train.conftest import CONFIG

    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    fit(load_config(path), path, data_root, folder / "run", Silence())
    return folder / "run"


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


@pytest.mark.parametrize("epochs", [1, 4])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    epochs: int, finished: Path, config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(config, config_path, data_root, tmp_path / "run", Interruption(epochs))
    fit(config, config_path, data_root, tmp_path / "run", Silence())
    resumed, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", finished))
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


class Halt(Silence):
    """Stops a run after its n-th iteration."""

    def __init__(self, iterations: int) -> None:
        self.left = iterations
        self.training = False

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.training = what not in ("read images", "fusion")

    def advance(self, count: int = 1) -> None:
        self.left -= count * self.training
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("iterations", [4, 5])
def test_a_run_stopped_within_an_epoch_ends_like_an_uninterrupted_one(
    iterations: int, finished: Path, config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    often = Machine(checkpoint_minutes=0)
    with pytest.raises(KeyboardInterrupt):
        fit(config, config_path, data_root, tmp_path / "run", Halt(iterations), often)
    _, position = load_tensors(tmp_path / "run" / "last.safetensors")
    # Two iterations of pretraining; the checkpoint of the iteration that was stopped was not written.
    assert position["stage"] == ("pigment_network" if iterations > 3 else "pretrain-1")
    assert position["iteration"] == iterations - 3
    fit(config, config_path, data_root, tmp_path / "run", Silence(), often)
    resumed, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", finished))
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert (
        load_tensors(finished / "last.safetensors")[1]
        == load_tensors(tmp_path / "run" / "last.safetensors")[1]
    )


def test_worker_processes_change_nothing(
    finished: Path, config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    fit(config, config_path, data_root, tmp_path / "run", Silence(), Machine(workers=1))
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


@pytest.mark.slow
def test_a_killed_process_ends_like_an_uninterrupted_one(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    text = config_path.read_text().replace("epochs = 2\niterations = 2", "epochs = 3\niterations = 4")
    config_path.write_text(text)
    command = [sys.executable, "-m", "train", "fit", str(config_path), "--data-root", str(data_root)]
    command += ["--checkpoint-minutes", "0", "--run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [*command, str(killed)], cwd=REPOSITORY, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.monotonic() + 240
    while not (killed / "metrics.jsonl").is_file() or len(epochs_of(killed)) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    for run in (killed, whole):
        done = subprocess.run(
            [*command, str(run)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip().endswith("model.safetensors")
    resumed, expected = (load_file(run / "model.safetensors") for run in (killed, whole))
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert sorted(set(epochs_of(killed))) == sorted(epochs_of(whole))


def epochs_of(run: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["epoch"]) for line in lines if "epoch" in line]


def test_a_part_of_a_line_does_not_spoil_the_metrics(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"stage": "a"}\n{"stage": "b", "ep')
    run = Run(*[None] * 8)  # type: ignore[arg-type]
    run.folder, run.engine = tmp_path, Engine(Machine("cpu"))
    run.log("b", epochs={"b": 1})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["a", "b"]


def test_no_validation_image_is_an_error_before_training(
    config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    config_path.write_text(config_path.read_text().replace("validation = 0.3", "validation = 0.0"))
    with pytest.raises(DatasetError, match="need validation images of a source that validates"):
        fit(load_config(config_path), config_path, data_root, tmp_path / "run", Silence())


def test_e3_has_the_current_weights_until_there_are_best_ones(
    config: TrainConfig, config_path: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []
    compute = ExplainedEncoder.heatmaps

    def remember(self: ExplainedEncoder, pixels: torch.Tensor, task: int, size_px: int) -> torch.Tensor:
        if pixels.shape[0] == config.indicator.segmentation_batch:
            heads.append(self.classification_head.weight.clone())
        return compute(self, pixels, task, size_px)

    monkeypatch.setattr(ExplainedEncoder, "heatmaps", remember)
    with pytest.raises(KeyboardInterrupt):
        fit(config, config_path, data_root, tmp_path / "run", Interruption(3))
    # Two epochs of two iterations: current, current, best, best.
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[2], heads[3])


def test_another_seed_in_the_folder_is_refused(finished: Path, config_path: Path, data_root: Path) -> None:
    config_path.write_text(config_path.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(InputError, match="holds a run of another configuration or seed"):
        fit(load_config(config_path), config_path, data_root, finished, Silence())


def test_missing_masks_are_found_before_training(config_path: Path, data_root: Path, tmp_path: Path) -> None:
    table_only = config_path.read_text().replace('layout = "isic2018_task2"', 'layout = "table"')
    config_path.write_text(table_only)
    with pytest.raises(
        DatasetError, match="f_Seg needs masks of pigment_network, but no training image has one"
    ):
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


def test_the_encoder_may_learn_slower_than_the_rest(config: TrainConfig) -> None:
    optimizer = config.indicator.optimizer.model_copy(update={"encoder_learning_rate": 1e-6})
    stage = config.indicator.model_copy(update={"optimizer": optimizer})
    network = IndicatorNetwork(config.model.network, ("streaks", "melanoma"))
    subnetworks = Subnetworks(network, stage, Engine(Machine("cpu")))
    shared, own = subnetworks.part("segmentation-streaks")[1].param_groups
    assert (shared["lr"], own["lr"]) == (1e-6, 1e-4)
    assert any(weight is network.encoder.layer3[1].conv2.weight for weight in shared["params"])
    assert any(weight is network.heatmap_path("streaks").encoder.conv1.weight for weight in own["params"])
    everything = {id(w) for w in network.heatmap_path("streaks").parameters()}
    assert {id(w) for group in (shared, own) for w in group["params"]} == everything
