"""Checks of the data before the first step: no photograph that judges a model may have trained it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from biounet_edge.errors import DatasetError
from train.data.records import Record

HELD_OUT: Final = ("validation", "test")
"""Sides that judge."""

DOWNSAMPLED: Final = "_downsampled"
"""Ending of the ids of ISIC 2019's smaller copies of photographs that ISIC 2018 Task 2 holds at full size.

Source: https://challenge.isic-archive.com/data/#2019, file names of the training input
"""


def photograph_of(image_id: str) -> str:
    """The id of the photograph that an image shows, whatever its size: that of the ISIC archive."""
    return image_id.removesuffix(DOWNSAMPLED)


def find_copies(split: Mapping[str, Sequence[Record]]) -> None:
    """Refuse a split in which one file stands on two sides under two ids.

    Ids and lesions are what `check_split` compares; ISIC also has photographs that were uploaded twice.
    Files of a size of their own are not read.

    Args:
        split: Records of each side.

    Raises:
        DatasetError: Naming the first such pair, how many there are, and what to do.
    """
    placed = [(side, record) for side, records in split.items() for record in records]
    same_size = defaultdict(list)
    for side, record in placed:
        same_size[record.image.stat().st_size].append((side, record))
    pairs = []
    for candidates in same_size.values():
        if len({side for side, _ in candidates}) < 2:
            continue
        first_with: dict[bytes, tuple[str, Record]] = {}
        for side, record in candidates:
            first_side, first = first_with.setdefault(_digest(record.image), (side, record))
            if side != first_side and record.image_id != first.image_id:
                pairs.append((first_side, first, side, record))
    if pairs:
        first_side, first, side, record = pairs[0]
        raise DatasetError(
            f"{len(pairs)} files stand on two sides of the split under different ids, such as {first.image} "
            f"({first_side}) and {record.image} ({side}), which have the same content; remove one of each "
            "pair, or give both the same lesion id in their label table so that they stay together"
        )


def leave_out_held_out(
    unlabelled: Sequence[Record], split: Mapping[str, Sequence[Record]]
) -> tuple[list[Record], int]:
    """Take Dataset A's validation and test images out of Dataset B.

    An image goes if it is a held-out photograph, at another size or under another id included, or if it shows
    the lesion of one. Lesions are those that either data set names, so it is enough that Dataset B knows
    which of its images show the same lesion as its copy of a held-out photograph.

    Args:
        unlabelled: Records of Dataset B.
        split: Records of each side of Dataset A.

    Returns:
        The records that are left, in their order, and how many are not.
    """
    held_out = [record for side in HELD_OUT for record in split.get(side, ())]
    copies = _same_content(unlabelled, held_out)
    photographs = {photograph_of(record.image_id) for record in held_out}
    gone = {
        record.image_id
        for record in unlabelled
        if record.image in copies or photograph_of(record.image_id) in photographs
    }
    lesions = {record.lesion_id for record in held_out}
    lesions |= {record.lesion_id for record in unlabelled if record.image_id in gone}
    lesions.discard(None)
    kept = [
        record for record in unlabelled if record.image_id not in gone and record.lesion_id not in lesions
    ]
    return kept, len(unlabelled) - len(kept)


def _same_content(records: Iterable[Record], others: Iterable[Record]) -> set[Path]:
    """Files of `records` that have the content of any file of `others`."""
    sizes = defaultdict(set)
    for other in others:
        sizes[other.image.stat().st_size].add(other.image)
    alike = [(record.image, sizes.get(record.image.stat().st_size, set())) for record in records]
    wanted = {path for _, paths in alike for path in paths}
    contents = {_digest(path) for path in wanted}
    return {path for path, paths in alike if paths and _digest(path) in contents}


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
