"""Pictures that are drawn or damaged here are the same each time, and no two are equal."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.foreign import damaged
from benchmarks.foreign.damaged import DAMAGES, damage_photographs
from benchmarks.foreign.documents import LAYOUTS, make_documents
from benchmarks.foreign.patterns import PATTERNS, UNIFORM, make_patterns
from benchmarks.foreign.picture import SETS
from biounet_edge.errors import InputError

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
MAKERS = {"documents": make_documents, "patterns": make_patterns}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """More photographs than the samples: each one is mirrored, turned and scaled."""
    folder = tmp_path_factory.mktemp("photographs")
    for place, path in enumerate(sorted(SAMPLES.glob("*.jpg"))):
        small = Image.open(path).resize((96, 72))
        for turn in range(0, 360, 45):
            small.rotate(turn).save(folder / f"photo-{place}-{turn}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("kind", MAKERS)
def test_made_pictures_are_the_same_each_time(kind):
    first, second = list(MAKERS[kind]("judge")), list(MAKERS[kind]("judge"))
    assert [picture.name for picture in first] == [picture.name for picture in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels, one.name)


@pytest.mark.parametrize("kind", MAKERS)
def test_made_pictures_differ_within_and_between_the_sets(kind):
    pictures = [picture for name in SETS for picture in MAKERS[kind](name)]
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)
    assert len({(picture.set, picture.name) for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("kind", MAKERS)
def test_made_pictures_are_rgb(kind):
    for picture in MAKERS[kind]("choose"):
        assert picture.kind == kind
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.shape[2:] == (3,)
        assert min(picture.pixels.shape[:2]) >= 256


def test_only_plain_patterns_have_one_colour():
    for picture in make_patterns("judge"):
        assert (np.ptp(picture.pixels, axis=(0, 1)).max() == 0) == picture.name.startswith("plain-")


def test_judge_has_more_than_fifteen_of_each_made_kind():
    assert len(LAYOUTS) * 3 > 15
    assert len(PATTERNS) * 2 + len(UNIFORM["judge"]) > 15
    assert len(DAMAGES) * damaged.PER_DAMAGE["judge"] > 15


def test_damage_is_the_same_each_time_and_takes_each_photograph_once(photographs):
    first, second = (list(damage_photographs("judge", photographs)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels, one.name)
    assert len({picture.source for picture in first}) == len(first) == 2 * len(DAMAGES)


def test_damage_does_not_depend_on_the_order_of_the_photographs(photographs):
    first, second = (next(damage_photographs("choose", of)) for of in (photographs, photographs[::-1]))
    np.testing.assert_array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_changes_most_of_a_photograph(name):
    photograph = np.asarray(Image.open(next(SAMPLES.glob("*.jpg"))).resize((96, 72)))
    before = photograph.copy()
    after = DAMAGES[name](photograph, np.random.default_rng(0))
    np.testing.assert_array_equal(photograph, before)
    assert after.dtype == np.uint8
    if after.shape == photograph.shape:
        assert (after != photograph).any(axis=2).mean() > 0.5


def test_damage_needs_enough_photographs(photographs):
    with pytest.raises(InputError, match="40 photographs are needed for the set 'judge', and there are 3"):
        next(damage_photographs("judge", photographs[:3]))
