"""Virtual adversarial training: predictions stay when the pixels move the way that would change them most.

It needs no label, so Dataset B can teach the classifier too. Murabayashi and Iyatomi train the clinical
indicators of dermoscopy with it, and the paper's Table 2 compares with them.

Source: Miyato et al., Virtual Adversarial Training, 2018, arXiv:1704.03976, section 3; Murabayashi and
Iyatomi, Towards Explainable Melanoma Diagnosis, IEEE Big Data 2019.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

Classify = Callable[[Tensor], Tensor]
"""Logits, shape (N, T), of normalised pixels (N, 3, H, W).

Called several times on the same images, it must answer alike: no dropout, and batch norm either in evaluation
mode or on batch statistics without touching the running ones, which perturbed images have no part in. Under
DistributedDataParallel it is the wrapped module: the wrapper does not know `torch.autograd.grad`.
"""


def bernoulli_divergence(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence between two predictions of independent yes-no labels.

    As a difference of two cross entropies from logits: finite for any logits, and with the exact gradient
    sigmoid(logits) - sigmoid(reference_logits), which the power iteration lives on.

    Args:
        reference_logits: The prediction that is held fixed, shape (N, T); no gradient flows into it.
        logits: The other prediction, shape (N, T).

    Returns:
        Mean over images of the sum over tasks of KL(sigmoid(reference_logits) || sigmoid(logits)), a scalar.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(reference_logits, logits, "logits")
    precision = torch.promote_types(logits.dtype, torch.float32)
    reference = reference_logits.detach().to(precision)
    probability = torch.sigmoid(reference)
    cross_entropy = functional.binary_cross_entropy_with_logits(
        logits.to(precision), probability, reduction="none"
    )
    entropy = functional.binary_cross_entropy_with_logits(reference, probability, reduction="none")
    return (cross_entropy - entropy).sum(1).mean()


def adversarial_perturbation(
    classify: Classify,
    pixels: Tensor,
    direction: Tensor,
    *,
    epsilon: float,
    xi: float,
    power_iterations: int,
) -> Tensor:
    """The perturbation of length epsilon that changes the prediction most, to second order.

    Where there is no perturbation the divergence is at its minimum, so its gradient is zero and the worst
    direction is the dominant eigenvector of its Hessian. Power iteration finds it: the gradient after a small
    step xi along a direction is xi times the Hessian times that direction.

    Args:
        classify: The classifier; its weights get no gradient here.
        pixels: Normalised images, shape (N, 3, H, W).
        direction: Where the iteration starts, of any length, shape (N, 3, H, W): standard normal noise.
        epsilon: L2 norm of the perturbation of one image, in normalised pixels.
        xi: L2 norm of that small step; it spreads over 3 H W values and must survive rounding in each.
        power_iterations: Steps of the iteration; the source finds one enough.

    Returns:
        One perturbation an image, shape (N, 3, H, W), without gradient. Where the prediction does not depend
        on the pixels it points along `direction`.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(pixels, direction, "a direction")
    direction = _unit(direction.detach())
    with _full_precision(pixels.device):
        with torch.no_grad():
            reference = classify(pixels)
        for _ in range(power_iterations):
            step = (xi * direction).requires_grad_()
            divergence = bernoulli_divergence(reference, classify(pixels + step))
            # torch.autograd.grad, not backward: the weights' own gradients stay as they are.
            (gradient,) = torch.autograd.grad(divergence, step)
            flat = gradient.flatten(1).abs().amax(1) == 0  # (N)
            direction = torch.where(flat.view(-1, 1, 1, 1), direction, _unit(gradient))
    return epsilon * direction


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No half precision and no TF32: either rounds a step of xi away, and what is left is noise.

    TF32 is what convolutions on Ampere and later GPUs compute in unless told otherwise.
    """
    operations = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [operation.fp32_precision for operation in operations]
    try:
        for operation in operations:
            operation.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


def _unit(vectors: Tensor) -> Tensor:
    """Each image's vector at L2 norm 1, shape (N, 3, H, W); zero stays zero."""
    # Divided by the largest value first: the squares of a gradient near zero underflow.
    smallest = torch.finfo(vectors.dtype).tiny
    vectors = vectors / vectors.abs().amax((1, 2, 3), keepdim=True).clamp_min(smallest)
    return vectors / vectors.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(smallest)


def _check_shapes(expected: Tensor, got: Tensor, what: str) -> None:
    if expected.shape != got.shape:
        raise ValueError(
            f"expected {what} of shape {tuple(expected.shape)}, got {tuple(got.shape)}; "
            "give one for each image"
        )
