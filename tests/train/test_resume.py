"""A run that was stopped, however, ends like one that was not."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biounet_edge.errors import InputError
from tests.train.conftest import Halt, Interruption
from train.checkpoint import load_tensors
from train.config.run import TrainConfig, load_config
from train.engine import Engine, Machine
from train.fit import fit
from train.run import Run, Silence

REPOSITORY = Path(__file__).parents[2]


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


@pytest.mark.parametrize("iterations", [4, pytest.param(5, marks=pytest.mark.slow)])
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
    try:
        while not (killed / "metrics.jsonl").is_file() or len(epochs_of(killed)) < 2:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait(60)
    assert not (killed / "model.safetensors").exists()
    for run in (killed, whole):
        done = subprocess.run(
            [*command, str(run)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
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


def test_another_seed_in_the_folder_is_refused(
    finished: Path, config_path: Path, data_root: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    config_path.write_text(config_path.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(InputError, match="holds a run of another configuration or seed"):
        fit(load_config(config_path), config_path, data_root, run, Silence())
