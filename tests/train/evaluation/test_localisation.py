import numpy as np
import pytest

from biounet_edge.evaluation.masks import continuous_dice
from train.evaluation.localisation import THRESHOLDS, MapScore, score_map, summarise
from train.evaluation.report import Localisation


def random_map(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((8, 9)) > 0.7, rng.random((8, 9)).astype(np.float32)


def score(seed: int, present: bool = True) -> MapScore:
    return score_map(*random_map(seed), present, 0.6)


def values_of(of: Localisation) -> list[float]:
    figures = [figure.value for figure in (of.cdc_filled, of.cdc_all, of.dice, of.jaccard) if figure]
    return [*figures, *of.cdc_filled_at.values()]


EMPTY = np.zeros((8, 9), bool)


def test_dice_and_jaccard_equal_the_slow_loop() -> None:
    truth, heatmap = random_map(0)
    both = either = size = 0
    for t, value in zip(truth.ravel(), heatmap.ravel(), strict=True):
        m = value >= 0.6
        both, either, size = both + (t and m), either + (t or m), size + int(t) + int(m)
    of = summarise([score(0)], 0, 10)
    assert of.dice is not None
    assert of.jaccard is not None
    assert (of.dice.value, of.jaccard.value) == pytest.approx((2 * both / size, both / either))


def test_cuts_set_lower_values_to_zero_and_keep_the_others() -> None:
    truth = np.array([[True, True, False]])
    heatmap = np.array([[0.5, 0.2, 0.3]], np.float32)
    at = score_map(truth, heatmap, True, 0.6).continuous_dice_at
    assert list(at) == [f"0.{tenth}" for tenth in range(10)]
    # Overlap 0.7 over two covered pixels of the truth: c = 0.35; 2 * 0.7 / (0.7 + 1)
    assert at["0.0"] == pytest.approx(1.4 / 1.7)
    # 0.3 stands, 0.2 goes: c = 0.5 on one covered pixel; 2 * 0.5 / (1 + 0.8)
    assert at["0.3"] == pytest.approx(1 / 1.8)
    assert at["0.5"] == pytest.approx(1 / 1.5)
    assert at["0.6"] == 0.0


def test_an_uncut_map_scores_as_it_is() -> None:
    scores = [score(seed) for seed in range(4)]
    of = summarise(scores, 0, 10)
    assert of.cdc_filled is not None
    assert of.cdc_filled_at["0.0"] == pytest.approx(of.cdc_filled.value)
    assert list(of.cdc_filled_at) == list(THRESHOLDS)


def test_an_absent_indicator_is_reported_as_an_empty_map() -> None:
    truth, heatmap = random_map(1)
    absent = score_map(truth, heatmap, False, 0.6)
    assert absent.continuous_dice_reported == 0.0
    assert absent.pixels_reported["TP"] + absent.pixels_reported["FP"] == 0
    assert score_map(EMPTY, heatmap, False, 0.6).continuous_dice_reported == 1.0


def test_presence_does_not_change_what_is_judged_over_filled_masks() -> None:
    present, absent = (summarise([score(seed, there) for seed in range(5)], 0, 10) for there in (True, False))
    assert present.cdc_filled == absent.cdc_filled
    assert (present.dice, present.jaccard) == (absent.dice, absent.jaccard)
    assert present.cdc_all != absent.cdc_all


def test_means_are_over_filled_and_over_all_masks() -> None:
    filled, empty = score(2), score_map(EMPTY, random_map(3)[1], False, 0.6)
    of = summarise([filled, empty, empty], 0, 10)
    assert (of.images, of.images_filled) == (3, 1)
    assert of.cdc_filled is not None
    assert of.cdc_all is not None
    assert of.cdc_filled.value == pytest.approx(continuous_dice(*random_map(2)))
    assert of.cdc_all.value == pytest.approx((continuous_dice(*random_map(2)) + 2) / 3)


def test_without_filled_masks_only_all_masks_are_measured() -> None:
    of = summarise([score_map(EMPTY, random_map(3)[1], True, 0.6)], 0, 10)
    assert (of.cdc_filled, of.dice, of.jaccard, of.cdc_filled_at) == (None, None, None, {})
    assert of.cdc_all is not None


def test_figures_do_not_change_with_flipped_images() -> None:
    pairs = [random_map(seed) for seed in range(4)]
    plain = summarise([score_map(t, h, True, 0.6) for t, h in pairs], 0, 50)
    flipped = summarise([score_map(t[::-1, ::-1], h[::-1, ::-1], True, 0.6) for t, h in pairs], 0, 50)
    assert values_of(flipped) == pytest.approx(values_of(plain))


def test_the_true_mask_itself_scores_one() -> None:
    truth, _ = random_map(5)
    of = summarise([score_map(truth, truth.astype(np.float32), True, 0.6)], 0, 10)
    assert values_of(of) == [1.0] * (4 + len(THRESHOLDS))


def test_a_mask_of_everything_is_judged_over_filled_masks() -> None:
    truths = [random_map(seed)[0] for seed in (0, 1)]
    of = summarise([*map(score, (0, 1)), score_map(EMPTY, random_map(3)[1], True, 0.6)], 0, 10)
    # Each overlaps with all pixels of the truth, of 72.
    expected = [2 * truth.sum() / (truth.sum() + 72) for truth in truths]
    assert of.cdc_everything == pytest.approx(np.mean(expected))
    assert summarise([score_map(EMPTY, random_map(3)[1], True, 0.6)], 0, 10).cdc_everything is None
