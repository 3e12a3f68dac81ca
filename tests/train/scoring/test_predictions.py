from pathlib import Path

import pytest

from biounet_edge.errors import InputError
from tests.train.scoring.written import labelled, write_predictions
from train.config.data import DataConfig, DataSource
from train.config.run import TrainConfig
from train.data.held_out import held_out
from train.scoring.predictions import Predictions


def shared_by_two(config: TrainConfig, data_root: Path, folder: Path) -> TrainConfig:
    """The rendered source, and another one that holds a third of its images; metadata of all."""
    (first,) = config.data.annotated
    names = sorted(path.stem for path in (data_root / first.images).iterdir())
    (folder / "some.csv").write_text("image\n" + "\n".join(names[::3]) + "\n")
    rows = [f"{name},{'male' if index % 2 else 'female'}" for index, name in enumerate(names)]
    (folder / "metadata.csv").write_text("image,sex\n" + "\n".join(rows) + "\n")
    second = DataSource(
        name="some", layout="table", images=first.images, table=folder / "some.csv", validation=0.3
    )
    data = DataConfig(annotated=(first, second), metadata=folder / "metadata.csv")
    return config.model_copy(update={"data": data})


def test_failed_and_missing_predictions_are_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"I0": {}, "I1": {"status": "error", "melanoma_probability": ""}})
    with pytest.raises(InputError, match="no successful prediction of 2 images, such as I1"):
        Predictions(tmp_path, labelled(3))


def test_unfamiliar_photographs_with_numbers_are_scored(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"I0": {}, "I1": {"status": "unfamiliar"}})
    assert len(Predictions(tmp_path, labelled(2)).column("melanoma_probability")) == 2
    write_predictions(tmp_path, {"I0": {}, "I1": {"status": "unfamiliar", "melanoma_probability": ""}})
    with pytest.raises(InputError, match=r"such as I1; .* with --accept-unfamiliar"):
        Predictions(tmp_path, labelled(2))


def test_missing_table_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `biounet-edge predict"):
        Predictions(tmp_path, labelled(2))


def test_held_out_names_the_sources_there_are(config: TrainConfig, data_root: Path) -> None:
    assert len(held_out(config, data_root, "validation", "rendered")) == 18
    with pytest.raises(InputError, match="no source 'uda1'; it has rendered"):
        held_out(config, data_root, "test", "uda1")
    with pytest.raises(InputError, match="no image of rendered stands on side test"):
        held_out(config, data_root, "test", "rendered")


def test_held_out_images_know_their_part_and_traits(
    config: TrainConfig, data_root: Path, tmp_path: Path
) -> None:
    both = shared_by_two(config, data_root, tmp_path)
    plain = held_out(config, data_root, "validation", "rendered")
    chosen = held_out(both, data_root, "validation", "rendered")
    assert [r.image_id for r in chosen] == [r.image_id for r in plain]
    shared = (tmp_path / "some.csv").read_text().split()
    for record in chosen:
        assert record.traits["part"] == ("also in some" if record.image_id in shared else "rendered")
        assert record.traits["sex"] in ("female", "male")
    assert {record.traits["part"] for record in held_out(both, data_root, "validation", "some")} == {
        "also in rendered"
    }
