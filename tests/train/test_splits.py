import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biounet_edge.errors import DatasetError
from train.config.data import DataSource
from train.data.records import Record
from train.data.splits import _strata, check_split, split_records, write_split


def source(name: str, **values: float) -> DataSource:
    return DataSource(name=name, layout="table", images=Path(name), table=Path("t.csv"), **values)  # type: ignore[arg-type]


def records(name: str, count: int, lesions: int) -> list[Record]:
    return [
        Record(
            f"I{i}", Path(f"{name}/I{i}.jpg"), name, f"L{i % lesions}", melanoma=i % lesions < lesions // 4
        )
        for i in range(count)
    ]


def test_lesions_stay_on_one_side() -> None:
    split = split_records([(source("a", validation=0.2, test=0.3), records("a", 300, 100))], seed=1)
    sides = [{record.lesion_id for record in side} for side in split.values()]
    assert len(set.union(*sides)) == sum(len(side) for side in sides)
    assert [len(side) for side in split.values()] == [150, 60, 90]


def test_split_keeps_the_rate_of_melanoma() -> None:
    split = split_records([(source("a", validation=0.2, test=0.2), records("a", 200, 200))], seed=1)
    assert [sum(bool(r.melanoma) for r in side) / len(side) for side in split.values()] == [0.25] * 3


def test_an_image_of_two_sources_takes_the_side_of_the_first() -> None:
    both = [(source("a", test=0.5, validation=0), records("a", 40, 40)), (source("b"), records("b", 80, 80))]
    split = split_records(both, seed=2)
    held_out = {r.image_id for r in split["test"] if r.source == "a"}
    assert len(held_out) == 20
    assert {r.image_id for r in split["test"] if r.source == "b"} == held_out


def test_split_depends_on_the_seed_alone() -> None:
    def held_out(seed: int) -> list[str]:
        return [
            r.image_id for r in split_records([(source("a", test=0.2), records("a", 50, 50))], seed)["test"]
        ]

    assert held_out(1) == held_out(1) != held_out(2)


@pytest.mark.parametrize(("other", "what"), [("I0", "image I0"), ("I9", "lesion L0")])
def test_leaks_between_sides_are_refused(other: str, what: str) -> None:
    first = Record("I0", Path("I0.jpg"), "a", "L0")
    second = Record(other, Path("x.jpg"), "a", "L0" if other == "I9" else None)
    with pytest.raises(DatasetError, match=f"{what} stands in both train and test"):
        check_split({"train": [first], "test": [second]})


def test_split_is_written_as_a_table(tmp_path: Path) -> None:
    write_split(
        {"train": [Record("I0", Path("I0.jpg"), "a", "L0", True)], "test": []}, tmp_path / "split.csv"
    )
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"image": "I0", "source": "a", "side": "train", "lesion": "L0", "melanoma": "1", "path": "I0.jpg"}
    ]


def findings(count: int, lesion: int = 1) -> list[Record]:
    """Images of which a tenth have streaks, a fifth globules, half a network, some of them several."""
    rng = np.random.default_rng(0)
    chance = {"streaks": 0.1, "globules": 0.2, "pigment_network": 0.5}
    return [
        Record(
            f"I{i}",
            Path(f"I{i}.jpg"),
            "a",
            f"L{i // lesion}",
            bool(rng.random() < 0.15),
            {name: bool(rng.random() < part) for name, part in chance.items()},
        )
        for i in range(count)
    ]


def test_each_side_has_each_finding_in_proportion() -> None:
    entry = source("a", validation=0.15, test=0.25).model_copy(update={"stratify": "findings"})
    images = findings(1000)
    split = split_records([(entry, images)], seed=3)
    parts = {"train": 0.6, "validation": 0.15, "test": 0.25}
    strata = _strata(entry, images)
    assert [len(side) for side in split.values()] == pytest.approx([600, 150, 250], abs=len(strata))
    # The rarest finding is a stratum of its own, so it is divided exactly; the others are but for
    # rounding and for the draw of those that share an image with a rarer one.
    for name, tolerance in (("streaks", 1), ("globules", 12), ("pigment_network", 20)):
        having = sum(r.presence[name] for r in images)
        for side, part in parts.items():
            assert sum(r.presence[name] for r in split[side]) == pytest.approx(
                part * having, abs=tolerance
            ), (name, side)
    melanomas = sum(bool(r.melanoma) for r in images)
    for side, part in parts.items():
        assert sum(bool(r.melanoma) for r in split[side]) == pytest.approx(part * melanomas, abs=12)


def test_strata_are_those_of_the_rarest_finding() -> None:
    def record(name: str, melanoma: bool | None, *there: str) -> Record:
        return Record(name, Path("x"), "a", None, melanoma, dict.fromkeys(there, True))

    images = [
        record("both", True, "streaks", "globules"),
        record("globules", False, "globules"),
        record("mole", False),
        record("melanoma", True),
        record("another", True, "globules"),
        record("unknown", None),
    ]
    entry = source("a").model_copy(update={"stratify": "findings"})
    # Streaks are in one image; globules and melanoma in three each, and the alphabet decides.
    assert [[r.image_id for r in stratum] for stratum in _strata(entry, images)] == [
        ["both"],
        ["globules", "another"],
        ["melanoma"],
        ["mole", "unknown"],
    ]


def test_a_lesion_goes_where_its_rarest_finding_does() -> None:
    entry = source("a", validation=0.0, test=0.5).model_copy(update={"stratify": "findings"})
    split = split_records([(entry, findings(300, lesion=3))], seed=1)
    lesions = [{r.lesion_id for r in side} for side in split.values()]
    assert sum(map(len, lesions)) == 100
    streaks = [{r.lesion_id for r in side if r.presence["streaks"]} for side in split.values()]
    assert abs(len(streaks[0]) - len(streaks[2])) <= 1


def test_strata_of_another_source_move_no_image_of_the_first() -> None:
    entries = [source("a", validation=0.1, test=0.5), source("b", validation=0.2, test=0.2)]
    first = [record for record in records("a", 120, 120)]
    second = [
        replace(record, image_id=f"B{record.image_id}", lesion_id=f"B{record.lesion_id}", source="b")
        for record in findings(200)
    ]
    alone = split_records([(entries[0], first)], seed=7)
    beside = entries[1].model_copy(update={"stratify": "findings"})
    both = split_records([(entries[0], first), (beside, second)], seed=7)
    for side, chosen in alone.items():
        assert [r.image_id for r in both[side] if r.source == "a"] == [r.image_id for r in chosen]


KEPT_SPLIT = {
    "train": ["I0", "I1", "I3", "I6", "I14", "I17", "I18", "I19"],
    "validation": ["I15", "I16"],
    "test": ["I2", "I4", "I5", "I7", "I8", "I9", "I10", "I11", "I12", "I13"],
}
"""The sides of twenty ids under seed 7 before sources could be stratified by findings."""


def test_a_split_by_melanoma_alone_is_the_one_it_always_was() -> None:
    # Another one would judge a published model on images that trained it.
    split = split_records([(source("uda1", validation=0.1, test=0.5), records("uda1", 20, 20))], seed=7)
    assert {side: [r.image_id for r in chosen] for side, chosen in split.items()} == KEPT_SPLIT
