import numpy as np
import pytest

from biounet_edge.evaluation.masks import continuous_dice, dice, jaccard


def slow_continuous_dice(truth: list[list[bool]], prediction: list[list[float]]) -> float:
    """Equation 5 of the paper, pixel by pixel."""
    overlap = support = size_a = size_b = 0.0
    for row, column in ((r, c) for r in range(len(truth)) for c in range(len(truth[0]))):
        a, b = (1.0 if truth[row][column] else 0.0), prediction[row][column]
        overlap += a * b
        support += a if b > 0 else 0.0
        size_a += a
        size_b += b
    c = overlap / support if support > 0 else 1.0
    total = c * size_a + size_b
    return 2 * overlap / total if total > 0 else 1.0


def random_masks(case: int) -> tuple[np.ndarray, np.ndarray]:
    """A truth and a prediction; in every tenth case one of them is empty, in every fiftieth both are."""
    rng = np.random.default_rng(case)
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    truth = rng.random(shape) > rng.random()
    prediction = np.where(rng.random(shape) > rng.random(), rng.random(shape), 0.0)
    if case % 20 == 0 or case % 50 == 1:
        truth &= False
    if case % 20 == 10 or case % 50 == 1:
        prediction *= 0
    return truth, prediction


def test_continuous_dice_equals_the_slow_loop_on_a_thousand_masks() -> None:
    cases = [random_masks(case) for case in range(1000)]
    fast = [continuous_dice(truth, prediction) for truth, prediction in cases]
    slow = [slow_continuous_dice(truth.tolist(), prediction.tolist()) for truth, prediction in cases]
    assert fast == pytest.approx(slow, rel=1e-12, abs=1e-12)
    empty = {(bool(truth.any()), bool(prediction.any())) for truth, prediction in cases}
    assert len(empty) == 4


def test_continuous_dice_worked_by_hand() -> None:
    truth = np.array([[True, True, False]])
    prediction = np.array([[0.5, 0.0, 0.25]])
    # overlap 0.5, one truth pixel is covered: c = 0.5; 2 * 0.5 / (0.5 * 2 + 0.75)
    assert continuous_dice(truth, prediction) == pytest.approx(1 / 1.75)


def test_continuous_dice_does_not_punish_a_constant_probability_on_the_truth() -> None:
    truth = np.array([[True, False]])
    assert continuous_dice(truth, np.array([[0.3, 0.0]])) == pytest.approx(1.0)


def test_continuous_dice_of_empty_masks() -> None:
    nothing, everything = np.zeros((2, 2)), np.ones((2, 2), bool)
    assert continuous_dice(nothing.astype(bool), nothing) == 1.0
    assert continuous_dice(nothing.astype(bool), nothing + 0.1) == 0.0
    assert continuous_dice(everything, nothing) == 0.0


def test_continuous_dice_of_a_binary_mask_is_dice() -> None:
    truth = np.array([[True, True, True, False]])
    # Two pixels in both, three in the truth, three predicted.
    assert continuous_dice(truth, np.array([[1.0, 1.0, 0.0, 1.0]])) == pytest.approx(2 * 2 / (3 + 3))


def test_continuous_dice_does_not_change_with_the_scale_of_the_prediction() -> None:
    truth, prediction = random_masks(3)
    assert 0 < continuous_dice(truth, prediction) < 1
    assert continuous_dice(truth, prediction / 7) == pytest.approx(continuous_dice(truth, prediction))


def test_continuous_dice_does_not_change_with_flipped_masks() -> None:
    truth, prediction = random_masks(3)
    flipped = continuous_dice(truth[::-1, ::-1], prediction[::-1, ::-1])
    assert flipped == pytest.approx(continuous_dice(truth, prediction))


def test_continuous_dice_of_different_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a prediction of shape \(2, 2\), got \(2, 3\)"):
        continuous_dice(np.zeros((2, 2), bool), np.zeros((2, 3)))


def slow_overlap(truth: list[list[bool]], mask: list[list[bool]]) -> tuple[float, float]:
    """Dice and Jaccard, pixel by pixel."""
    both = either = total = 0
    for row, other in zip(truth, mask, strict=True):
        for a, b in zip(row, other, strict=True):
            both += a and b
            either += a or b
            total += int(a) + int(b)
    return (2 * both / total, both / either) if total else (1.0, 1.0)


def test_dice_and_jaccard_equal_the_slow_loop() -> None:
    cases = [(truth, prediction > 0.4) for truth, prediction in map(random_masks, range(300))]
    fast = [(dice(truth, mask), jaccard(truth, mask)) for truth, mask in cases]
    assert fast == [slow_overlap(truth.tolist(), mask.tolist()) for truth, mask in cases]


def test_dice_and_jaccard_worked_by_hand() -> None:
    truth, mask = np.array([[True, True, True, False]]), np.array([[True, True, False, True]])
    assert dice(truth, mask) == pytest.approx(4 / 6)
    assert jaccard(truth, mask) == pytest.approx(2 / 4)


def test_dice_and_jaccard_of_empty_masks() -> None:
    nothing, everything = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    assert (dice(nothing, nothing), jaccard(nothing, nothing)) == (1.0, 1.0)
    assert (dice(nothing, everything), jaccard(everything, nothing)) == (0.0, 0.0)


def test_dice_follows_from_jaccard() -> None:
    truth, prediction = random_masks(3)
    index = jaccard(truth, prediction > 0)
    assert dice(truth, prediction > 0) == pytest.approx(2 * index / (1 + index))
