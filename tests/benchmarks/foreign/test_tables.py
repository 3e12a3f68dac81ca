"""The tables of what is taken from packages: well formed, and no picture in both sets."""

import re
from collections import Counter
from dataclasses import astuple

import pytest

from benchmarks.foreign.archives import read_archives
from benchmarks.foreign.members import read_members
from benchmarks.foreign.picture import KINDS, SETS

SHA256 = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"|frame \d+|box \d+ \d+ \d+ \d+")


@pytest.fixture(scope="module")
def members():
    return read_members()


def test_archives_are_complete():
    for archive in read_archives().values():
        assert all(astuple(archive)), archive
        assert archive.registry in ("pypi", "npm")
        assert archive.version in archive.file
        assert SHA256.fullmatch(archive.sha256)


def test_every_archive_is_used_and_every_member_has_one(members):
    assert {member.archive for member in members} == set(read_archives())


def test_members_are_complete(members):
    for member in members:
        assert member.set in SETS
        assert member.kind in KINDS
        assert member.licence
        assert SHA256.fullmatch(member.sha256)
        assert PART.fullmatch(member.part)


def test_boxes_are_not_empty(members):
    boxes = [list(map(int, member.part.split()[1:])) for member in members if member.part.startswith("box")]
    assert boxes
    assert all(left < right and top < bottom for left, top, right, bottom in boxes)


def test_names_are_unique_in_a_set_and_kind(members):
    ((_, most),) = Counter((member.set, member.kind, member.name) for member in members).most_common(1)
    assert most == 1


def test_no_part_of_a_picture_is_taken_twice(members):
    parts = Counter((member.kind, member.sha256, member.part) for member in members)
    assert max(parts.values()) == 1


def test_sets_share_no_picture(members):
    content = {name: {member.sha256 for member in members if member.set == name} for name in SETS}
    assert content["choose"]
    assert content["judge"]
    assert not content["choose"] & content["judge"]
