"""Images on one side of a run's split, and the groups of them that are judged apart."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from biounet_edge.errors import DatasetError, InputError
from train.config.run import TrainConfig
from train.data.records import TRAITS, Record, read_annotated
from train.data.splits import Side, split_records

AGES: Final = (40, 60)
"""Years at which age groups begin."""

PART: Final = "part"
"""Trait of an image: the other source that has it too."""


def held_out(config: TrainConfig, data_root: Path, side: Side, source: str) -> list[Record]:
    """Images of one source on one side of a run's split, those that another source has too marked as a part.

    Raises:
        InputError: If the configuration has no such source, or nothing of it stands on that side.
    """
    sources = read_annotated(config.data, data_root)
    names = [entry.name for entry, _ in sources]
    if source not in names:
        raise InputError(f"the configuration has no source {source!r}; it has {', '.join(names)}")
    split = split_records(sources, config.data.split_seed)
    others = {r.image_id: entry.name for entry, of in sources if entry.name != source for r in of}
    chosen = [
        replace(
            r, traits={**r.traits, PART: f"also in {others[r.image_id]}" if r.image_id in others else source}
        )
        for r in split[side]
        if r.source == source
    ]
    if not chosen:
        raise InputError(f"no image of {source} stands on side {side}; choose another source or side")
    return chosen


def groups_of(records: Sequence[Record], *, traits: bool = True) -> Iterator[tuple[str, list[int]]]:
    """Names and indices of the groups that are judged apart: all, and subgroups as "trait: value"."""
    yield "all", list(range(len(records)))
    for name in (PART, *TRAITS) if traits else (PART,):
        members: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            value = record.traits.get(name, "unknown")
            members.setdefault(_age_group(value) if name == "age" else value, []).append(index)
        if len(members) > 1:
            yield from ((f"{name}: {value}", of) for value, of in sorted(members.items()))


def _age_group(age: str) -> str:
    if age == "unknown":
        return age
    young, old = AGES
    try:
        years = float(age)
    except ValueError as error:
        raise DatasetError(
            f"expected years or an empty cell for an age, got {age!r}; correct the table of metadata"
        ) from error
    return (
        f"under {young}" if years < young else f"{young} to {old - 1}" if years < old else f"{old} and older"
    )
