from pathlib import Path

import pytest
from typer.testing import CliRunner

from biounet_edge.errors import CheckpointError, InputError
from train.cli.main import app
from train.config.run import TrainConfig
from train.evaluation.evaluate import choose_source, evaluate
from train.evaluation.judge import Options
from train.evaluation.report import load_evaluation

QUICK = Options(images=3, resamples=20)


def test_evaluate_writes_what_it_returns(run_folder: Path, data_root: Path) -> None:
    evaluation = evaluate(run_folder, data_root, side="validation", options=QUICK)
    folder = run_folder / "evaluation" / "rendered-validation"
    assert load_evaluation(folder) == evaluation
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "evaluation.md"]


def test_evaluate_writes_where_it_is_told(run_folder: Path, data_root: Path, tmp_path: Path) -> None:
    evaluate(run_folder, data_root, "rendered", "validation", QUICK, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "evaluation.json").is_file()


def test_a_folder_without_a_run_is_refused(tmp_path: Path, data_root: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run folder with config\.toml"):
        evaluate(tmp_path / "none", data_root)


def test_an_unfinished_run_is_refused(run_folder: Path, data_root: Path) -> None:
    (run_folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected a checkpoint at .*model\.safetensors"):
        evaluate(run_folder, data_root, side="validation")


def test_one_of_several_sources_must_be_named(config: TrainConfig) -> None:
    assert choose_source(config, None) == "rendered"
    first = config.data.annotated[0]
    several = config.data.model_copy(
        update={"annotated": (first, first.model_copy(update={"name": "painted"}))}
    )
    with pytest.raises(InputError, match="2 sources; choose one of rendered, painted"):
        choose_source(config.model_copy(update={"data": several}), None)


def test_command_prints_the_page_it_writes(run_folder: Path, data_root: Path) -> None:
    arguments = ["evaluate", str(run_folder), "--side", "validation", "--data-root", str(data_root)]
    arguments += ["--images", "3", "--resamples", "100", "--method", "grad_cam", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    page = run_folder / "evaluation" / "rendered-validation" / "evaluation.md"
    assert result.stdout == page.read_text(encoding="utf-8")
