import numpy as np
import pytest
import torch

from train.calibration import fit_temperature, fold_temperatures
from train.network import IndicatorNetwork, NetworkConfig


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    # Three times the log-odds that made the labels: only their third is honest.
    assert fit_temperature(truth, 3 * logits) == pytest.approx(3, rel=0.05)


def test_a_hand_worked_temperature() -> None:
    # Three of four are positive at logit 2: sigmoid(2 / T) = 3/4, so T = 2 / ln 3.
    assert fit_temperature([1, 1, 1, 0], [2.0, 2.0, 2.0, 2.0]) == pytest.approx(2 / np.log(3), rel=1e-3)


def test_unknown_labels_do_not_count() -> None:
    known = fit_temperature([1, 1, 1, 0], [2.0, 2.0, 2.0, 2.0])
    assert fit_temperature([1, 1, 1, 0, np.nan], [2.0, 2.0, 2.0, 2.0, -9.0]) == known


def test_one_class_alone_leaves_the_temperature_at_one() -> None:
    assert fit_temperature([1, 1], [2.0, 0.5]) == 1


def test_folded_temperatures_divide_the_logits() -> None:
    torch.manual_seed(0)
    network = IndicatorNetwork(NetworkConfig(4, 64, 32), ("streaks", "melanoma")).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = network.classify(pixels)
        fold_temperatures(network, {"streaks": 4.0})
        torch.testing.assert_close(network.classify(pixels), before / torch.tensor([4.0, 1.0]))
