"""Which image trains, which validates, which is held out: by lesion, and the same in every source."""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from biounet_edge.errors import DatasetError
from train.config.data import DataSource
from train.data.records import Record
from train.tasks import MELANOMA

Side = Literal["train", "validation", "test"]
Split = dict[str, list[Record]]
"""Records of each side; an image that several sources hold stands once per source, on one side."""


def split_records(sources: Sequence[tuple[DataSource, list[Record]]], seed: int) -> Split:
    """Divide the records of all sources.

    Lesions are the unit where a source names them, images otherwise. The side of a lesion depends on its id,
    its first source's fractions and the seed alone: adding images moves no other image. Where a diagnosis is
    known, melanomas and other lesions are divided separately, so that small sides hold both. A source that
    stratifies by findings is divided by each lesion's rarest finding, so that each side has every indicator
    in proportion.

    Args:
        sources: Each source with its records; an id takes its side from the first source that has it.
        seed: Changes the draw.

    Returns:
        The records of each side.
    """
    lesion_of = {r.image_id: r.lesion_id for _, records in sources for r in records if r.lesion_id}
    side_of: dict[str, Side] = {}
    for source, records in sources:
        for stratum in _strata(source, records):
            groups = {_group(r, lesion_of) for r in stratum} - set(side_of)
            ranked = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
            test = round(source.test * len(ranked))
            validation = test + round(source.validation * len(ranked))
            for rank, group in enumerate(ranked):
                side_of[group] = "test" if rank < test else "validation" if rank < validation else "train"
    split: Split = {side: [] for side in get_args(Side)}
    for _, records in sources:
        for record in records:
            split[side_of[_group(record, lesion_of)]].append(record)
    check_split(split)
    return split


def _strata(source: DataSource, records: Sequence[Record]) -> list[list[Record]]:
    """Records that are divided together, the rarest finding first: a lesion goes where it comes first."""
    if source.stratify == "melanoma":
        return [[r for r in records if r.melanoma is melanoma] for melanoma in (True, False, None)]
    findings = {r.image_id: {name for name, there in r.presence.items() if there} for r in records}
    for record in records:
        if record.melanoma:
            findings[record.image_id].add(MELANOMA)
    count = Counter(name for found in findings.values() for name in found)
    rarest_first = sorted(count, key=lambda name: (count[name], name))
    strata: list[list[Record]] = [[] for _ in (*rarest_first, None)]
    for record in records:
        found = findings[record.image_id]
        rank = next((rank for rank, name in enumerate(rarest_first) if name in found), len(rarest_first))
        strata[rank].append(record)
    return strata


def _group(record: Record, lesion_of: Mapping[str, str | None]) -> str:
    return lesion_of.get(record.image_id) or record.image_id


def check_split(split: Mapping[str, Sequence[Record]]) -> None:
    """Refuse a split in which an image or a lesion stands on two sides.

    Raises:
        DatasetError: Naming the first such id and its sides.
    """
    seen: dict[str, str] = {}
    for side, records in split.items():
        for record in records:
            for key in (f"image {record.image_id}", f"lesion {record.lesion_id}" if record.lesion_id else ""):
                if key and seen.setdefault(key, side) != side:
                    raise DatasetError(
                        f"{key} stands in both {seen[key]} and {side}; a lesion must be on one side, "
                        "split by lesion or remove it from one"
                    )


def write_split(split: Mapping[str, Sequence[Record]], path: Path) -> None:
    """Write the split as a table: image, source, side, lesion, melanoma and the path that was read."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "source", "side", "lesion", "melanoma", "path"])
        for side, records in split.items():
            for r in records:
                melanoma = "" if r.melanoma is None else int(r.melanoma)
                table.writerow([r.image_id, r.source, side, r.lesion_id or "", melanoma, r.image.as_posix()])
