"""The loss of VAT; in double precision where values are compared, as xi is a small step of a difference."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.losses.virtual_adversarial import (
    adversarial_perturbation,
    bernoulli_divergence,
)

Array = NDArray[np.float64]

SHAPE = (3, 3, 2, 2)
"""Three images of 12 values."""
TASKS = 2


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def slow_divergence(reference_logits: Array, logits: Array) -> float:
    """The definition of the divergence, image by image and task by task."""
    images = []
    for reference_row, row in zip(reference_logits, logits, strict=True):
        total = 0.0
        for reference, logit in zip(reference_row, row, strict=True):
            p, q = float(sigmoid(reference)), float(sigmoid(logit))
            total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        images.append(total)
    return float(np.mean(images))


class CurvedClassifier:
    """tanh(x A) B, in NumPy and in PyTorch."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.a = rng.normal(size=(12, 5)) / 2
        self.b = rng.normal(size=(5, TASKS))

    def numpy(self, pixels: Array) -> Array:
        return np.tanh(pixels.reshape(len(pixels), 12) @ self.a) @ self.b

    def torch(self, pixels: Tensor) -> Tensor:
        a, b = torch.from_numpy(self.a), torch.from_numpy(self.b)
        return torch.tanh(pixels.flatten(1) @ a.to(pixels.dtype)) @ b.to(pixels.dtype)


def slow_perturbation(
    classify: Callable[[Array], Array], image: Array, start: Array, epsilon: float, xi: float, steps: int
) -> Array:
    """Algorithm 1 of VAT for one image, its gradient by central differences."""
    direction = start / np.linalg.norm(start)
    reference = classify(image[None])
    for _ in range(steps):
        gradient = np.zeros_like(direction)
        for index in np.ndindex(*direction.shape):
            change = np.zeros_like(direction)
            change[index] = 1e-5
            ahead = slow_divergence(reference, classify((image + xi * direction + change)[None]))
            behind = slow_divergence(reference, classify((image + xi * direction - change)[None]))
            gradient[index] = (ahead - behind) / 2e-5
        direction = gradient / np.linalg.norm(gradient)
    return epsilon * direction


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def linear_classifier(seed: int, tasks: int = TASKS) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, tasks)).double()


def test_divergence_equals_the_slow_loop() -> None:
    reference, logits = (3 * values for values in draw(1, (7, 6), (7, 6)))
    fast = bernoulli_divergence(torch.from_numpy(reference), torch.from_numpy(logits))
    assert float(fast) == pytest.approx(slow_divergence(reference, logits), rel=1e-12)


def test_divergence_of_one_half_from_three_quarters_is_known() -> None:
    # Logits 0 and ln 3 are probabilities 1/2 and 3/4: KL = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).
    # The first image has it in both of its tasks, the second in none.
    logits = torch.tensor([[math.log(3), math.log(3)], [0.0, 0.0]])
    divergence = bernoulli_divergence(torch.zeros(2, 2), logits)
    assert float(divergence) == pytest.approx((2 * 0.5 * math.log(4 / 3) + 0) / 2)


def test_divergence_of_certain_predictions_is_finite() -> None:
    # Certain predictions that become their opposites, softplus(200) each; in float they are 0 and 1.
    divergence = bernoulli_divergence(torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]]))
    assert float(divergence) == pytest.approx(400)


def test_divergence_holds_the_reference_fixed() -> None:
    reference = torch.zeros(1, 2, requires_grad=True)
    logits = torch.ones(1, 2, requires_grad=True)
    bernoulli_divergence(reference, logits).backward()
    assert reference.grad is None
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.sigmoid(torch.ones(1, 2)) - 0.5)


def test_divergence_of_different_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected logits of shape \(2, 6\), got \(2, 5\)"):
        bernoulli_divergence(torch.zeros(2, 6), torch.zeros(2, 5))


def virtual_adversarial_loss(
    classify: Callable[[Tensor], Tensor], pixels: Tensor, direction: Tensor, **settings: Any
) -> Tensor:
    """Its two parts put together, as f_Res does it."""
    perturbation = adversarial_perturbation(classify, pixels, direction, **settings)
    return bernoulli_divergence(classify(pixels), classify(pixels + perturbation))


@pytest.mark.parametrize("power_iterations", [1, 2])
def test_perturbation_equals_the_slow_loop(power_iterations: int) -> None:
    classifier = CurvedClassifier(2)
    pixels, start = draw(3, SHAPE, SHAPE)
    # A step large enough for differences of differences; both sides take the same.
    fast = adversarial_perturbation(
        classifier.torch,
        torch.from_numpy(pixels),
        torch.from_numpy(start),
        epsilon=0.7,
        xi=0.1,
        power_iterations=power_iterations,
    )
    slow = [
        slow_perturbation(classifier.numpy, image, direction, 0.7, 0.1, power_iterations)
        for image, direction in zip(pixels, start, strict=True)
    ]
    # Central differences of 1e-5 are exact to about 1e-10 of a divergence near 1e-3.
    np.testing.assert_allclose(fast.numpy(), np.stack(slow), atol=1e-5)


def test_loss_equals_the_slow_loop() -> None:
    classifier = CurvedClassifier(4)
    pixels, start = draw(5, SHAPE, SHAPE)
    fast = virtual_adversarial_loss(
        classifier.torch,
        torch.from_numpy(pixels),
        torch.from_numpy(start),
        epsilon=1.5,
        xi=0.1,
        power_iterations=1,
    )
    moved = pixels + np.stack(
        [
            slow_perturbation(classifier.numpy, image, direction, 1.5, 0.1, 1)
            for image, direction in zip(pixels, start, strict=True)
        ]
    )
    slow = slow_divergence(classifier.numpy(pixels), classifier.numpy(moved))
    assert slow > 0.01
    assert float(fast) == pytest.approx(slow, rel=1e-5)


def test_perturbation_of_a_linear_classifier_is_the_dominant_eigenvector() -> None:
    classifier = linear_classifier(6)
    pixels, start = (torch.from_numpy(values) for values in draw(7, (1, 3, 2, 2), (1, 3, 2, 2)))
    weight = classifier[1].weight.detach()
    probability = torch.sigmoid(classifier(pixels)).detach()[0]
    # The divergence's Hessian without a perturbation: W^T diag(p (1 - p)) W.
    hessian = weight.T @ torch.diag(probability * (1 - probability)) @ weight
    dominant = torch.linalg.eigh(hessian).eigenvectors[:, -1]
    found = adversarial_perturbation(classifier, pixels, start, epsilon=2.0, xi=1e-4, power_iterations=200)
    assert abs(float(found.flatten() @ dominant)) == pytest.approx(2.0, rel=1e-6)


def test_one_task_needs_one_step() -> None:
    # With one logit w x the Hessian has rank 1: any start reaches w at once.
    classifier = linear_classifier(8, tasks=1)
    pixels, start = (torch.from_numpy(values) for values in draw(9, SHAPE, SHAPE))
    found = adversarial_perturbation(classifier, pixels, start, epsilon=1.0, xi=1e-4, power_iterations=1)
    weight = classifier[1].weight.detach()[0]
    cosine = found.flatten(1) @ weight / weight.norm()
    torch.testing.assert_close(cosine.abs(), torch.ones(3).double())


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_perturbation_has_length_epsilon_in_each_image(epsilon: float) -> None:
    classifier = CurvedClassifier(10)
    pixels, start = (torch.from_numpy(values).float() for values in draw(11, SHAPE, SHAPE))
    found = adversarial_perturbation(
        classifier.torch, pixels, 1000 * start, epsilon=epsilon, xi=0.1, power_iterations=1
    )
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((3,), epsilon))


def test_perturbation_of_a_certain_prediction_is_found() -> None:
    classifier = CurvedClassifier(10)
    pixels, start = (torch.from_numpy(values) for values in draw(11, SHAPE, SHAPE))
    # At logits near -60 the squares of the gradient are below the smallest float32.
    exact, single = (
        adversarial_perturbation(
            lambda x: classifier.torch(x) - 60, p, s, epsilon=1.0, xi=0.1, power_iterations=1
        )
        for p, s in ((pixels, start), (pixels.float(), start.float()))
    )
    torch.testing.assert_close(single.double(), exact, atol=1e-3, rtol=0)


def test_a_batch_gives_what_its_single_images_give() -> None:
    classifier = CurvedClassifier(12)
    pixels, start = (torch.from_numpy(values) for values in draw(13, SHAPE, SHAPE))
    arguments = {"epsilon": 1.0, "xi": 0.1}
    together = adversarial_perturbation(classifier.torch, pixels, start, power_iterations=2, **arguments)
    alone = [
        adversarial_perturbation(
            classifier.torch, pixels[i : i + 1], start[i : i + 1], power_iterations=2, **arguments
        )
        for i in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_perturbation_changes_the_prediction_more_than_its_start() -> None:
    classifier = CurvedClassifier(14)
    pixels, start = (torch.from_numpy(values) for values in draw(15, (40, 3, 2, 2), (40, 3, 2, 2)))
    reference = classifier.torch(pixels)
    losses = [
        float(
            virtual_adversarial_loss(
                classifier.torch, pixels, start, epsilon=0.2, xi=1e-3, power_iterations=steps
            )
        )
        for steps in (1, 4)
    ]
    unit = start / start.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    random = float(bernoulli_divergence(reference, classifier.torch(pixels + 0.2 * unit)))
    assert random < losses[0] < losses[1]


def test_loss_of_a_constant_classifier_is_zero() -> None:
    classifier = linear_classifier(16)
    nn.init.zeros_(classifier[1].weight)
    pixels, start = (torch.from_numpy(values) for values in draw(17, SHAPE, SHAPE))
    arguments = {"epsilon": 2.0, "xi": 1e-2}
    loss = virtual_adversarial_loss(classifier, pixels, start, power_iterations=1, **arguments)
    assert loss.item() == 0.0
    # And no 0 / 0: the perturbation stays where it started.
    found = adversarial_perturbation(classifier, pixels, start, power_iterations=1, **arguments)
    unit = start / start.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, 2 * unit)


def test_loss_falls_with_epsilon() -> None:
    classifier = CurvedClassifier(18)
    pixels, start = (torch.from_numpy(values) for values in draw(19, SHAPE, SHAPE))
    losses = [
        float(
            virtual_adversarial_loss(
                classifier.torch, pixels, start, epsilon=epsilon, xi=1e-2, power_iterations=1
            )
        )
        for epsilon in (1.0, 0.5, 0.1, 0.01)
    ]
    assert losses == sorted(losses, reverse=True)
    # To second order it falls with the square.
    assert losses[2] / losses[3] == pytest.approx(100, rel=0.1)


def test_finding_the_perturbation_leaves_no_gradient_on_the_weights() -> None:
    classifier = linear_classifier(20)
    pixels, start = (torch.from_numpy(values) for values in draw(21, SHAPE, SHAPE))
    kept = torch.ones_like(classifier[1].bias)
    classifier[1].bias.grad = kept.clone()
    found = adversarial_perturbation(classifier, pixels, start, epsilon=1.0, xi=1e-2, power_iterations=2)
    assert classifier[1].weight.grad is None
    assert torch.equal(classifier[1].bias.grad, kept)
    assert not found.requires_grad


def test_loss_teaches_the_weights_through_the_perturbed_images_alone() -> None:
    classifier = linear_classifier(22)
    pixels, start = (torch.from_numpy(values) for values in draw(23, SHAPE, SHAPE))
    settings = {"epsilon": 1.0, "xi": 1e-2}
    virtual_adversarial_loss(classifier, pixels, start, power_iterations=1, **settings).backward()
    moved = pixels + adversarial_perturbation(classifier, pixels, start, power_iterations=1, **settings)
    reference, logits = classifier(pixels).detach(), classifier(moved).detach()
    # d KL / d logit = sigmoid(logit) - sigmoid(reference), and d logit / d W = the perturbed pixels.
    error = torch.sigmoid(logits) - torch.sigmoid(reference)
    torch.testing.assert_close(classifier[1].weight.grad, error.T @ moved.flatten(1) / len(pixels))


@pytest.fixture
def tf32() -> Iterator[None]:
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "tf32"
    yield
    convolutions.fp32_precision = before


@pytest.mark.usefixtures("tf32")
def test_search_runs_in_full_precision() -> None:
    classifier = CurvedClassifier(24)
    pixels, start = (torch.from_numpy(values).float() for values in draw(25, SHAPE, SHAPE))
    seen = set()

    def classify(x: Tensor) -> Tensor:
        operations = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
        seen.add((torch.is_autocast_enabled("cpu"), *(o.fp32_precision for o in operations)))
        return classifier.torch(x)

    with torch.autocast("cpu", torch.bfloat16):
        adversarial_perturbation(classify, pixels, start, epsilon=1.0, xi=1e-2, power_iterations=1)
        assert torch.is_autocast_enabled("cpu")
    assert seen == {(False, "ieee", "ieee")}
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


def test_direction_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a direction of shape \(3, 3, 2, 2\), got \(1, 3, 2, 2\)"):
        adversarial_perturbation(
            CurvedClassifier(0).torch,
            torch.zeros(SHAPE),
            torch.zeros(1, 3, 2, 2),
            epsilon=1.0,
            xi=1e-2,
            power_iterations=1,
        )
