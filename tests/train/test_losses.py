import math

import numpy as np
import pytest
import torch

from train.losses import mask_supervision, masked_bce, nt_xent, soft_dice


def slow_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """SimCLR's algorithm 1, pair by pair."""
    z = np.concatenate([first, second])
    count = len(first)
    losses = []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        similar = [
            math.exp(float(z[i] @ z[k]) / float(np.linalg.norm(z[i]) * np.linalg.norm(z[k])) / temperature)
            for k in range(2 * count)
        ]
        losses.append(-math.log(similar[partner] / (sum(similar) - similar[i])))
    return float(np.mean(losses))


@pytest.mark.parametrize(("count", "temperature"), [(2, 0.5), (7, 0.1), (24, 1.0)])
def test_nt_xent_equals_the_slow_loop(count: int, temperature: float) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.normal(size=(2, count, 16))
    fast = nt_xent(torch.from_numpy(first), torch.from_numpy(second), temperature)
    # The loss works in float32.
    assert float(fast) == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-5)


def test_nt_xent_of_orthogonal_pairs_is_known() -> None:
    views = torch.eye(2)
    # Each embedding: positive at similarity 1, two negatives at 0; tau 0.5.
    assert float(nt_xent(views, views, 0.5)) == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)))


def test_nt_xent_does_not_depend_on_lengths() -> None:
    rng = np.random.default_rng(6)
    first, second = (torch.from_numpy(values) for values in rng.normal(size=(2, 5, 8)))
    lengths = torch.from_numpy(rng.uniform(0.1, 10, size=(5, 1)))
    expected = float(nt_xent(first, second, 0.5))
    assert float(nt_xent(first * lengths, second, 0.5)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 8), (3, 4, 8)])
def test_nt_xent_without_negatives_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected two embeddings of one shape \(N, C\) with N >= 2"):
        nt_xent(torch.ones(shape), torch.ones(shape), 0.5)


def slow_soft_dice(probability: np.ndarray, truth: np.ndarray, smoothing: float) -> float:
    losses = []
    for p, t in zip(probability, truth, strict=True):
        overlap = total = 0.0
        for i in range(p.shape[0]):
            for j in range(p.shape[1]):
                overlap += p[i, j] * t[i, j]
                total += t[i, j] ** 2 + p[i, j] ** 2
        losses.append(1 - (2 * overlap + smoothing) / (total + smoothing))
    return float(np.mean(losses))


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_soft_dice_equals_the_slow_loop(smoothing: float) -> None:
    rng = np.random.default_rng(5)
    probability, truth = rng.random((3, 6, 5)), (rng.random((3, 6, 5)) > 0.6).astype(float)
    fast = soft_dice(torch.from_numpy(probability), torch.from_numpy(truth), smoothing)
    assert float(fast) == pytest.approx(slow_soft_dice(probability, truth, smoothing))


def test_soft_dice_of_half_a_mask_is_known() -> None:
    truth = torch.tensor([[[1.0, 1.0]]])
    assert float(soft_dice(torch.tensor([[[1.0, 0.0]]]), truth, 0.0)) == pytest.approx(1 - 2 / 3)


def test_soft_dice_of_a_perfect_mask_is_zero() -> None:
    truth = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert float(soft_dice(truth, truth)) == 0


def test_soft_dice_teaches_an_empty_mask_to_stay_empty() -> None:
    probability = torch.full((1, 4, 4), 0.5, requires_grad=True)
    soft_dice(probability, torch.zeros(1, 4, 4)).backward()
    assert probability.grad is not None
    assert (probability.grad > 0).all()


def test_soft_dice_of_different_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a truth of shape"):
        soft_dice(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))


def slow_masked_bce(logits: np.ndarray, labels: np.ndarray, positive_weight: np.ndarray) -> float:
    losses = []
    for i in range(logits.shape[0]):
        for task in range(logits.shape[1]):
            if math.isnan(labels[i, task]):
                continue
            probability = 1 / (1 + math.exp(-logits[i, task]))
            positive = -positive_weight[task] * math.log(probability)
            losses.append(positive if labels[i, task] == 1 else -math.log(1 - probability))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("weights", [None, [1.0, 8.0, 2.5]])
def test_masked_bce_equals_the_slow_loop(weights: list[float] | None) -> None:
    rng = np.random.default_rng(9)
    logits = 3 * rng.normal(size=(8, 3))
    labels = rng.choice([0.0, 1.0, math.nan], size=(8, 3))
    fast = masked_bce(
        torch.from_numpy(logits), torch.from_numpy(labels), torch.tensor(weights) if weights else None
    )
    assert float(fast) == pytest.approx(slow_masked_bce(logits, labels, np.array(weights or [1.0] * 3)))


def test_masked_bce_of_certain_logits_is_finite() -> None:
    # Wrong by 200 is a loss of softplus(200), right by 200 is none; a probability would give infinity.
    loss = masked_bce(torch.tensor([[200.0, 200.0]]), torch.tensor([[0.0, 1.0]]))
    assert float(loss) == pytest.approx(100)


def test_masked_bce_leaves_unknown_labels_out() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]], requires_grad=True)
    labels = torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]])
    loss = masked_bce(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.exp(-1))) / 2)
    assert logits.grad is not None
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0


def test_masked_bce_weighs_positives() -> None:
    loss = masked_bce(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([3.0, 3.0]))
    assert float(loss) == pytest.approx(2 * math.log(2))


def test_masked_bce_without_labels_is_zero() -> None:
    assert float(masked_bce(torch.ones(2, 1), torch.full((2, 1), float("nan")))) == 0


def test_masked_bce_keeps_the_precision_of_the_logits() -> None:
    logits = torch.zeros(2, 1, dtype=torch.float64)
    loss = masked_bce(logits, torch.tensor([[1.0], [0.0]]), torch.ones(1))
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(math.log(2), abs=1e-15)


def test_linear_soft_dice_worked_by_hand() -> None:
    probability = torch.tensor([[[0.5, 0.1], [0.1, 0.0]]])
    truth = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    # 2 * 0.5 / (1 + 0.7); with squares 2 * 0.5 / (1 + 0.27)
    assert soft_dice(probability, truth, 0.0, squared=False).item() == pytest.approx(1 - 1 / 1.7)
    assert soft_dice(probability, truth, 0.0).item() == pytest.approx(1 - 1 / 1.27)


def slow_mask_supervision(logits: np.ndarray, truth: np.ndarray) -> float:
    """Mask by mask, place by place."""
    losses = []
    for of_image, true_of_image in zip(logits, truth, strict=True):
        for mask, true in zip(of_image, true_of_image, strict=True):
            if np.isnan(true).any():
                losses.append(0.0)
                continue
            probability = 1 / (1 + np.exp(-mask))
            entropy = -(true * np.log(probability) + (1 - true) * np.log(1 - probability)).mean()
            overlap, total = (probability * true).sum(), (probability + true).sum()
            losses.append(entropy + (1 - (2 * overlap + 1) / (total + 1) if true.any() else 0.0))
    return float(np.mean(losses))


def test_mask_supervision_equals_the_slow_loop() -> None:
    rng = np.random.default_rng(8)
    logits, truth = rng.normal(size=(3, 2, 4, 5)), rng.uniform(size=(3, 2, 4, 5))
    truth[0, 1] = 0
    truth[2, 0] = np.nan
    fast = mask_supervision(torch.from_numpy(logits), torch.from_numpy(truth))
    assert float(fast) == pytest.approx(slow_mask_supervision(logits, truth))


def test_mask_supervision_of_unknown_masks_is_nothing_and_has_no_gradient() -> None:
    logits = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = mask_supervision(logits, torch.full((2, 1, 3, 3), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
