from pathlib import Path

import pytest

from biounet_edge.errors import DatasetError
from train.data import checks
from train.data.checks import find_copies, leave_out_held_out
from train.data.records import Record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def photograph(folder: Path, image_id: str, content: str, lesion: str | None = None) -> Record:
    """A record whose file holds some text: what an image shows does not matter here."""
    path = folder / f"{image_id}.jpg"
    path.write_text(content, encoding="utf-8")
    return Record(image_id, path, folder.name, lesion)


def test_copies_on_two_sides_are_refused(folder: Path) -> None:
    split = {
        "train": [photograph(folder, "I1", "one"), photograph(folder, "I2", "two")],
        "validation": [photograph(folder, "I3", "six")],
        "test": [photograph(folder, "I4", "two"), photograph(folder, "I5", "one")],
    }
    message = (
        r"2 files stand on two sides of the split under different ids, such as .*I2\.jpg \(train\) and "
        r".*I4\.jpg \(test\), which have the same content; remove one of each pair, or give both the same "
        r"lesion id"
    )
    with pytest.raises(DatasetError, match=message):
        find_copies(split)


def test_copies_on_one_side_are_let_through(folder: Path) -> None:
    copies = [photograph(folder, "I1", "one"), photograph(folder, "I2", "one")]
    find_copies({"train": copies, "test": [photograph(folder, "I3", "six")]})


def test_an_image_that_two_sources_hold_is_no_copy(folder: Path) -> None:
    (folder / "other").mkdir()
    first, second = photograph(folder, "I1", "one"), photograph(folder / "other", "I1", "one")
    # One id on two sides is for check_split to refuse, with its own message.
    find_copies({"train": [first], "test": [second]})


def test_only_files_of_one_size_on_two_sides_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    digest = checks._digest
    monkeypatch.setattr(checks, "_digest", lambda path: (read.append(path.stem), digest(path))[1])
    split = {
        "train": [photograph(folder, f"I{i}", text) for i, text in enumerate(("one", "three", "nine"))],
        "test": [photograph(folder, "I3", "two"), photograph(folder, "I4", "eleven")],
    }
    split["train"].append(photograph(folder, "I5", "seven"))
    find_copies(split)
    assert sorted(read) == ["I0", "I3"]


@pytest.fixture
def split(folder: Path) -> dict[str, list[Record]]:
    """Dataset A: one image a side."""
    held = folder / "a"
    held.mkdir()
    return {
        "train": [photograph(held, "ISIC_0000001", "train")],
        "validation": [photograph(held, "ISIC_0000002", "validation", "L2")],
        "test": [photograph(held, "ISIC_0000003", "test", "L3")],
    }


def left_of(unlabelled: list[Record], split: dict[str, list[Record]]) -> list[str]:
    kept, left_out = leave_out_held_out(unlabelled, split)
    assert len(kept) + left_out == len(unlabelled)
    return [record.image_id for record in kept]


def test_held_out_ids_are_left_out(folder: Path, split: dict[str, list[Record]]) -> None:
    unlabelled = [photograph(folder, f"ISIC_000000{i}", f"at another size {i}") for i in (4, 3, 2, 1)]
    assert left_of(unlabelled, split) == ["ISIC_0000004", "ISIC_0000001"]


def test_smaller_copies_of_isic_2019_are_left_out(folder: Path, split: dict[str, list[Record]]) -> None:
    unlabelled = [photograph(folder, f"ISIC_000000{i}_downsampled", f"small {i}") for i in (1, 2, 3)]
    assert left_of(unlabelled, split) == ["ISIC_0000001_downsampled"]


def test_held_out_lesions_are_left_out(folder: Path, split: dict[str, list[Record]]) -> None:
    lesions = {"ISIC_0000011": "L2", "ISIC_0000012": "L3", "ISIC_0000013": "L4", "ISIC_0000014": None}
    unlabelled = [photograph(folder, image_id, image_id, lesion) for image_id, lesion in lesions.items()]
    assert left_of(unlabelled, split) == ["ISIC_0000013", "ISIC_0000014"]


def test_held_out_content_is_left_out_under_any_id(folder: Path, split: dict[str, list[Record]]) -> None:
    contents = {"ISIC_0000011": "test", "ISIC_0000012": "validation", "ISIC_0000013": "tes!"}
    unlabelled = [photograph(folder, image_id, content) for image_id, content in contents.items()]
    assert left_of(unlabelled, split) == ["ISIC_0000013"]


@pytest.mark.parametrize(
    ("image_id", "content"), [("ISIC_0000003_downsampled", "small"), ("ISIC_0000019", "test")]
)
def test_lesions_that_only_dataset_b_names_are_left_out(
    folder: Path, split: dict[str, list[Record]], image_id: str, content: str
) -> None:
    # Dataset B calls the lesion of its copy of a held-out photograph M7, and has a second photograph of it.
    unlabelled = [
        photograph(folder, "ISIC_0000011", "another view", "M7"),
        photograph(folder, image_id, content, "M7"),
        photograph(folder, "ISIC_0000012", "another lesion", "M8"),
    ]
    assert left_of(unlabelled, split) == ["ISIC_0000012"]


def test_nothing_is_left_out_of_a_strange_dataset(folder: Path, split: dict[str, list[Record]]) -> None:
    unlabelled = [photograph(folder, f"X{i}", f"unknown {i}", f"K{i}") for i in range(3)]
    assert leave_out_held_out(unlabelled, split) == (unlabelled, 0)
