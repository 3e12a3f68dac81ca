"""NT-Xent, the contrastive loss of f_CLR."""

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy over two views of each image.

    Each of the 2N embeddings has one positive, the other view of its image, and 2(N - 1) negatives.

    Args:
        first: Embeddings of the first views, shape (N, C), N at least 2.
        second: Embeddings of the second views in the same order, shape (N, C).
        temperature: tau, 0.5 in the paper.

    Returns:
        Mean loss over the 2N embeddings, a scalar.

    Raises:
        ValueError: If the shapes differ or there is no negative.

    Source:
        Chen et al., SimCLR, 2020, arXiv:2002.05709, equation 1; Bio-U-Net, equation 1.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"expected two embeddings of one shape (N, C) with N >= 2, got {tuple(first.shape)} "
            f"and {tuple(second.shape)}; give both views of the same batch"
        )
    count = len(first)
    both = torch.cat([first, second])
    both = both.to(torch.promote_types(both.dtype, torch.float32))
    embeddings = functional.normalize(both, dim=1)  # (2N, C)
    similarity = embeddings @ embeddings.T / temperature  # (2N, 2N)
    itself = torch.eye(2 * count, dtype=torch.bool, device=similarity.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    positive = torch.arange(2 * count, device=similarity.device).roll(count)
    return functional.cross_entropy(similarity, positive)
