"""Soft dice, the loss of f_Seg."""

from torch import Tensor

SMOOTHING = 1.0
"""Pixels added to both sides of the fraction.

The paper's equation has none; without it an empty truth gives a loss of 1 with no gradient, and a network is
never taught to leave a mask empty.
"""


def soft_dice(
    probability: Tensor, truth: Tensor, smoothing: float = SMOOTHING, *, squared: bool = True
) -> Tensor:
    """Soft dice loss, one fraction per image.

    Args:
        probability: Mask probabilities, shape (N, H, W), in [0, 1].
        truth: Expert masks, shape (N, H, W), 0 or 1.
        smoothing: Pixels added to numerator and denominator; 0 gives the paper's equation.
        squared: Whether the denominator has squares, as in the paper. Squares hardly count low probabilities,
            so that a faint veil over the whole image stays; the sums themselves take it away.

    Returns:
        Mean over the images of 1 - 2 sum(t p) / (sum(t^2) + sum(p^2)), or without squares; in [0, 1].

    Raises:
        ValueError: If the shapes differ.

    Source:
        Bio-U-Net, equation 2; Milletari et al., V-Net, 2016, arXiv:1606.04797.
    """
    if probability.shape != truth.shape:
        raise ValueError(
            f"expected a truth of shape {tuple(probability.shape)}, got {tuple(truth.shape)}; "
            "give probability and truth of the same images at the same size"
        )
    overlap = (probability * truth).sum((1, 2))
    total = (truth.square() + (probability.square() if squared else probability)).sum((1, 2))
    return (1 - (2 * overlap + smoothing) / (total + smoothing)).mean()
