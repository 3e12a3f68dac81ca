import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.calibration import RANGE, Calibration, fit_calibration, fold_calibrations
from train.gradcam import explain, stack_heatmaps
from train.network import IndicatorNetwork, NetworkConfig


def honest(seed: int, count: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels, and the log-odds that made them."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1, count)
    return rng.random(count) < 1 / (1 + np.exp(-log_odds)), log_odds


def slow_loss(truth: Sequence[float], logits: Sequence[float], of: Calibration) -> float:
    """Platt's cross entropy, label by label."""
    positives = sum(label == 1 for label in truth)
    negatives = sum(label == 0 for label in truth)
    total = 0.0
    for label, logit in zip(truth, logits, strict=True):
        if math.isnan(label):
            continue
        target = (positives + 1) / (positives + 2) if label else 1 / (negatives + 2)
        probability = 1 / (1 + math.exp(-(logit - of.shift) / of.temperature))
        total -= target * math.log(probability) + (1 - target) * math.log(1 - probability)
    return total / (positives + negatives)


@pytest.mark.parametrize(("temperature", "shift"), [(3.0, 0.0), (1.0, 1.5), (0.5, -2.0), (2.0, 4.0)])
def test_a_known_temperature_and_shift_are_found(temperature: float, shift: float) -> None:
    truth, log_odds = honest(0, 20_000)
    found = fit_calibration(truth, temperature * log_odds + shift)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.shift == pytest.approx(shift, abs=0.08 * temperature)


def test_a_hand_worked_calibration() -> None:
    # Two logits, four labels each: Platt's targets are 5/6 and 1/6, so the best probabilities are
    # (3 * 5/6 + 1/6) / 4 = 2/3 and 1/3 at the logits 3 and 1: (logit - 2) / T is plus and minus ln 2.
    found = fit_calibration([1, 1, 1, 0, 1, 0, 0, 0], [3.0] * 4 + [1.0] * 4)
    assert found.shift == pytest.approx(2, abs=1e-3)
    assert found.temperature == pytest.approx(1 / math.log(2), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_no_neighbour_has_a_smaller_loss(seed: int) -> None:
    truth, log_odds = honest(seed, 60)
    labels, logits = truth.astype(float).tolist(), (4 * log_odds + 1).tolist()
    found = fit_calibration(labels, logits)
    least = slow_loss(labels, logits, found)
    for factor, step in ((0.97, 0.0), (1.03, 0.0), (1.0, -0.05), (1.0, 0.05)):
        other = Calibration(found.temperature * factor, found.shift + step)
        assert slow_loss(labels, logits, other) > least


def test_unknown_labels_do_not_count() -> None:
    labels, logits = [1.0, 1.0, 1.0, 0.0], [2.0, 1.0, 3.0, 0.5]
    assert fit_calibration([*labels, np.nan], [*logits, -9.0]) == fit_calibration(labels, logits)


@pytest.mark.parametrize("truth", [[1, 1], [0, 0], [np.nan, 1], [np.nan, np.nan], []])
def test_one_class_alone_leaves_the_logits_as_they_are(truth: list[float]) -> None:
    assert fit_calibration(truth, [2.0, 0.5][: len(truth)]) == Calibration(1.0, 0.0)


def test_separable_labels_keep_finite_probabilities() -> None:
    logits = np.array([-1.0] * 10 + [1.0] * 10)
    found = fit_calibration([0] * 10 + [1] * 10, logits)
    assert RANGE[0] <= found.temperature <= RANGE[1]
    # Platt's targets are 11/12 and 1/12.
    highest = 1 / (1 + math.exp(-(1 - found.shift) / found.temperature))
    assert highest == pytest.approx(11 / 12, abs=1e-3)


def test_logits_that_say_nothing_reach_the_end_of_the_range() -> None:
    # The best answer to each is 1/2, whatever the temperature; one that turns the order round is best at an
    # endless temperature.
    found = fit_calibration([1, 0] * 50, [-5.0, 5.0] * 50)
    assert found.temperature == pytest.approx(RANGE[1])


def test_calibration_does_not_depend_on_the_scale_and_place_of_the_logits() -> None:
    truth, log_odds = honest(3, 400)
    plain, moved = fit_calibration(truth, log_odds), fit_calibration(truth, 2.5 * log_odds + 3)
    assert moved.temperature == pytest.approx(2.5 * plain.temperature, rel=1e-2)
    assert moved.shift == pytest.approx(2.5 * plain.shift + 3, abs=2e-2)


@pytest.fixture
def network() -> IndicatorNetwork:
    torch.manual_seed(0)
    network = IndicatorNetwork(NetworkConfig(4, 64, 32), ("streaks", "melanoma"))
    for _ in range(5):
        network.encoder(torch.randn(8, 3, 64, 64))
    torch.nn.init.normal_(network.classification_head.bias)
    return network.eval()


def test_folded_calibrations_shift_and_divide_the_logits(network: IndicatorNetwork) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = network.classify(pixels)
        fold_calibrations(network, {"streaks": Calibration(4.0, -1.5)})
        expected = (before - torch.tensor([-1.5, 0.0])) / torch.tensor([4.0, 1.0])
        torch.testing.assert_close(network.classify(pixels), expected)


def test_folded_calibrations_leave_the_heatmaps_as_they_are(network: IndicatorNetwork) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    head = network.classification_head
    before = stack_heatmaps(explain(network.encoder, head, pixels, 0).raw_heatmaps, 32)
    fold_calibrations(network, {"streaks": Calibration(3.0, 2.0)})
    after = stack_heatmaps(explain(network.encoder, head, pixels, 0).raw_heatmaps, 32)
    assert before.amax() == 1
    torch.testing.assert_close(after, before)
