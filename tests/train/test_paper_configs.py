"""configs/paper: thirteen files that differ in what their rows are about, and in nothing else."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from biounet_edge.indicators import INDICATORS
from train.config.run import TrainConfig, load_config
from train.data.checks import leave_out_held_out
from train.data.records import read_source
from train.tables.rows import ROWS
from train.tasks import MELANOMA

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "paper"

WITHOUT_F_CLR: dict[str, Any] = {"indicator.contrastive_batch": 0, "data.unlabelled": []}
WITHOUT_F_SEG: dict[str, Any] = {"indicator.segmentation_batch": 0}
ONE_ENCODER = {"model.encoders": [list(INDICATORS)]}
SIX_TASKS = {"model.encoders": [[*INDICATORS, MELANOMA]]}

DIFFERENCES: dict[str, dict[str, Any]] = {
    "bio_u_net": {},
    "f_res": WITHOUT_F_CLR | WITHOUT_F_SEG,
    "without_f_clr": WITHOUT_F_CLR,
    "without_f_seg": WITHOUT_F_SEG,
    **{f"repeat_{n}": {"indicator.segmentation_repeats": n} for n in (2, 3, 4, 5)},
    "one_task": {"model.encoders": [[indicator] for indicator in INDICATORS]},
    "two_tasks": {
        "model.encoders": [
            ["pigment_network", "globules"],
            ["negative_network", "pigment_network"],
            ["streaks", "pigment_network"],
            ["milia_like_cyst", "globules"],
            ["globules", "streaks"],
        ]
    },
    "five_tasks": ONE_ENCODER | {"indicator.iterations": 650},
    "six_tasks": SIX_TASKS | {"indicator.iterations": 650},
    "vat": SIX_TASKS
    | {"indicator.contrastive_batch": 0}
    | WITHOUT_F_SEG
    | {
        "indicator.adversarial": {
            "batch": 16,
            "weight": 1.0,
            "epsilon": 2.0,
            "xi": 1e-2,
            "power_iterations": 1,
        }
    },
}
"""What each file changes in bio_u_net.toml, beside `row` and the model's name."""


def load(row: str) -> TrainConfig:
    return load_config(FOLDER / f"{row}.toml")


def keys_of(config: TrainConfig) -> dict[str, Any]:
    """Every key of a configuration as table.key, defaults included."""
    content = config.model_dump(mode="json")
    flat = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def test_every_row_has_a_file() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(ROWS) == set(DIFFERENCES)


@pytest.mark.parametrize("row", ROWS)
def test_file_differs_from_bio_u_net_in_its_row_alone(row: str) -> None:
    base, own = keys_of(load("bio_u_net")), keys_of(load(row))
    assert base.keys() == own.keys()
    changed = {key: value for key, value in own.items() if value != base[key]}
    names = {"row": row, "model.name": row.replace("_", "-")} if row != "bio_u_net" else {}
    assert changed == names | DIFFERENCES[row]


@pytest.mark.parametrize("row", ROWS)
def test_file_trains_what_the_tables_say_of_its_row(row: str) -> None:
    stage, said = load(row).indicator, ROWS[row]
    assert stage.classification_batch == 16
    assert bool(stage.contrastive_batch) == said.contrastive
    assert bool(stage.segmentation_batch) == said.segmentation
    assert stage.segmentation_repeats == said.repeats
    assert (stage.adversarial is not None) == said.virtual_adversarial


STUDY = CONFIGS / "study"

STUDY_ALONE: dict[str, dict[str, Any]] = {
    "f_res": WITHOUT_F_SEG | {"indicator.contrastive_batch": 0},
    "without_f_clr": {"indicator.contrastive_batch": 0},
    # One encoder in place of five has five times their updates: every row has the same budget.
    "five_tasks": ONE_ENCODER | {"indicator.iterations": 150},
    "six_tasks": SIX_TASKS | {"indicator.iterations": 150},
    "vat": DIFFERENCES["vat"]
    | {
        "indicator.iterations": 150,
        "indicator.adversarial": DIFFERENCES["vat"]["indicator.adversarial"] | {"batch": 8},
    },
}
"""Where the study's rows differ otherwise than the paper's: it names Dataset B in all of them."""


@pytest.mark.parametrize("row", ROWS)
def test_study_differs_from_its_bio_u_net_as_the_papers_row_does(row: str) -> None:
    base, own = (keys_of(load_config(STUDY / f"{name}.toml")) for name in ("bio_u_net", row))
    changed = {key: value for key, value in own.items() if value != base[key]}
    names = {"row": row, "model.name": f"study-{row.replace('_', '-')}"} if row != "bio_u_net" else {}
    assert changed == names | STUDY_ALONE.get(row, DIFFERENCES[row])


def test_study_begins_from_weights_that_saw_no_held_out_image() -> None:
    start, study = load_config(STUDY / "start.toml"), load_config(STUDY / "bio_u_net.toml")
    assert study.initial_weights.endswith("runs/start/stages/pretrain-2.safetensors")
    assert study.data.split_seed == start.data.split_seed
    # A photograph's side depends on the first source that has it, its fractions and the seed.
    sides = {s.name: (s.images, s.validation, s.test) for s in start.data.annotated}
    shared = [s for s in study.data.annotated if s.name in sides]
    assert {s.name: (s.images, s.validation, s.test) for s in shared} == {
        s.name: sides[s.name] for s in shared
    }
    assert [s.name for s in shared] == [name for name in sides if name != "ham10000"]


def test_bio_u_net_has_the_papers_values() -> None:
    config = load("bio_u_net")
    stage, model, (annotated,) = config.indicator, config.model, config.data.annotated
    assert (stage.contrastive_batch, stage.classification_batch, stage.segmentation_batch) == (24, 16, 8)
    assert (stage.optimizer.learning_rate, stage.optimizer.weight_decay) == (1e-4, 1e-4)
    assert stage.optimizer.schedule == "constant"
    assert (stage.segmentation_repeats, stage.augment, stage.adversarial) == (1, "none", None)
    assert (config.contrastive_temperature, config.initial_weights) == (0.5, "imagenet")
    assert (model.base_width, model.image_size_px, model.heatmap_size_px) == (64, 512, 512)
    assert model.encoders == tuple((indicator, MELANOMA) for indicator in INDICATORS)
    assert (config.positive_weight_limit, config.pretrain) == (1.0, ())
    # Ours.
    assert (stage.epochs, stage.iterations, stage.patience) == (50, 130, 10)
    assert (annotated.validation, annotated.test) == (0.1, 0.2)


@pytest.mark.parametrize("row", ROWS)
def test_every_indicator_has_the_same_number_of_f_seg_updates(row: str) -> None:
    config = load(row)
    for index, _ in enumerate(config.model.encoders):
        localised = config.model.network.localised(index)
        if config.indicator.segmentation_batch:
            assert config.indicator.iterations == 130 * len(localised)


def test_each_of_two_tasks_localises_its_own_indicator() -> None:
    network = load("two_tasks").model.network
    assert [network.localised(index) for index in range(5)] == [(indicator,) for indicator in INDICATORS]
    assert {len(tasks) for tasks in network.encoders} == {2}


def test_readme_names_every_file() -> None:
    text = (CONFIGS / "README.md").read_text(encoding="utf-8")
    # The repeats are one line of the table.
    between = {"repeat_3.toml", "repeat_4.toml"}
    files = {path.relative_to(CONFIGS).name for path in CONFIGS.rglob("*.toml")} - between
    assert [name for name in sorted(files) if f"`{name}`" not in text] == []


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((8, 8, 3), value, np.uint8))[1].tobytes())


def write_table(path: Path, *rows: dict[str, object]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    """Two images of either data set, named and laid out as the archive delivers them."""
    for number, value in enumerate((60, 120)):
        write_image(tmp_path / "ISIC2018_Task1-2_Training_Input" / f"ISIC_000000{number}.jpg", value)
        for indicator in INDICATORS:
            mask = f"ISIC_000000{number}_attribute_{indicator}.png"
            write_image(tmp_path / "ISIC2018_Task2_Training_GroundTruth_v3" / mask, 255 * number)
    for name in ("ISIC_0000001_downsampled", "ISIC_0024306"):
        write_image(tmp_path / "ISIC_2019_Training_Input" / f"{name}.jpg", len(name))
    melanoma = {
        "diagnosis_1": "Malignant",
        "diagnosis_2": "Malignant melanocytic proliferations (Melanoma)",
        "diagnosis_3": "Melanoma Invasive",
    }
    naevus = {
        "diagnosis_1": "Benign",
        "diagnosis_2": "Benign melanocytic proliferations",
        "diagnosis_3": "Nevus",
    }
    write_table(
        tmp_path / "isic2018_task2_diagnosis.csv",
        {"isic_id": "ISIC_0000000", "attribution": "Anonymous", "copyright_license": "CC-0", **naevus},
        {"isic_id": "ISIC_0000001", "attribution": "Anonymous", "copyright_license": "CC-0", **melanoma},
    )
    write_table(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        {"image": "ISIC_0000001_downsampled", "MEL": 1.0, "NV": 0.0},
        {"image": "ISIC_0024306", "MEL": 0.0, "NV": 1.0},
    )
    return tmp_path


def test_dataset_a_is_read_as_isic_delivers_it(isic: Path) -> None:
    (source,) = load("bio_u_net").data.annotated
    records = read_source(source, isic)
    assert [(r.image_id, r.melanoma) for r in records] == [("ISIC_0000000", False), ("ISIC_0000001", True)]
    assert [set(r.presence.values()) for r in records] == [{False}, {True}]


def test_dataset_b_is_read_as_isic_delivers_it(isic: Path) -> None:
    data = load("bio_u_net").data
    held_out = read_source(data.annotated[0], isic)
    kept, left_out = leave_out_held_out(read_source(data.unlabelled[0], isic), {"test": held_out})
    assert ([record.image_id for record in kept], left_out) == (["ISIC_0024306"], 1)
