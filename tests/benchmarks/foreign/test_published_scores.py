"""Every published score tells what is far from the training photographs from what is like them."""

import numpy as np
import pytest

from benchmarks.foreign.published_scores import Pictures, compare


def features(count, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, 80)) @ np.random.default_rng(0).normal(size=(80, 80)) / 9 + 4 + shift
    return (mixed[:, None] + 0.1 * rng.normal(size=(count, 5, 80))).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    labels = (np.arange(600) % 2).astype(np.float32)
    strange = np.random.default_rng(1).normal(4, 6, size=(50, 5, 80)).astype(np.float32)
    kinds = {"far": features(50, 4, shift=20), "strange": strange, "alike": features(50, 5)}
    pictures = Pictures(features(600, 2), labels, np.ones(600), features(200, 3), kinds)
    return list(compare(pictures, [8]))


def test_every_score_is_judged_with_and_without_the_root(rows):
    names = [row[0] for row in rows]
    assert len(set(names)) == 9
    assert sum(name.endswith(", signed root") for name in names) == 4


def test_what_is_far_is_turned_away_and_what_is_alike_is_not(rows):
    for name, _, area, turned_away, worst in rows:
        if name.startswith("distance of neighbour"):  # of directions alone, which a shift hardly changes
            assert float(turned_away.rstrip("%")) / 100 > 0.3, name
            continue
        assert 0.62 < float(turned_away.rstrip("%")) / 100 < 0.72, name  # two kinds of three
        assert worst.endswith("(alike)"), name
        assert float(area) > 0.8, name


def test_the_size_is_that_of_the_constants(rows):
    assert rows[-1][1] == f"{4e-6 * (80 * 8 + 80 + 8 + 1):.1f}"
