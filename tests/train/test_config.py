from pathlib import Path

import pytest

from biounet_edge.errors import InputError
from train.config import TrainConfig, format_config, load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def extending(config_path: Path) -> Path:
    path = config_path.with_name("own.toml")
    path.write_text('extends = "tiny.toml"\nseed = 8\n[indicator]\nepochs = 7\n[model]\nbase_width = 8\n')
    return path


def test_extending_files_change_the_keys_they_name_alone(extending: Path, config: TrainConfig) -> None:
    own = load_config(extending)
    assert (own.seed, own.indicator.epochs, own.model.base_width) == (8, 7, 8)
    back = own.model_copy(
        update={
            "seed": config.seed,
            "indicator": own.indicator.model_copy(update={"epochs": config.indicator.epochs}),
            "model": own.model.model_copy(update={"base_width": config.model.base_width}),
        }
    )
    assert back == config


def test_extending_itself_is_an_error(config_path: Path) -> None:
    config_path.write_text('extends = "tiny.toml"\n')
    with pytest.raises(InputError, match="extends itself"):
        load_config(config_path)


def test_extending_in_a_circle_is_an_error(extending: Path, config_path: Path) -> None:
    config_path.write_text('extends = "own.toml"\n')
    with pytest.raises(InputError, match=r"own\.toml extends itself, by way of .*tiny\.toml"):
        load_config(extending)


def test_one_contrastive_image_has_no_negative(config_path: Path) -> None:
    config_path.write_text(config_path.read_text().replace("contrastive_batch = 4", "contrastive_batch = 1"))
    with pytest.raises(InputError, match="f_CLR needs negatives"):
        load_config(config_path)


def test_extending_a_missing_file_is_an_error(extending: Path, config_path: Path) -> None:
    config_path.unlink()
    with pytest.raises(InputError, match=r"no configuration at .*tiny\.toml"):
        load_config(extending)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_formatted_configurations_read_as_they_were(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    whole = tmp_path / "config.toml"
    whole.write_text(format_config(config), encoding="utf-8")
    assert load_config(whole) == config


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ('[["streaks", "melanoma"]]', "no encoder predicts pigment_network"),
        ('[["melanoma"]]', "every encoder needs at least one indicator"),
        ('[["streaks"], ["streaks", "melanoma"]]', "two encoders have the same indicators"),
        ('[["freckles"]]', "no task 'freckles'; the tasks are pigment_network"),
    ],
)
def test_encoders_that_cannot_be_are_refused(encoders: str, message: str, config_path: Path) -> None:
    text = config_path.read_text().replace("base_width = 4", f"base_width = 4\nencoders = {encoders}")
    config_path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(config_path)
