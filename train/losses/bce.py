"""Binary cross entropy over the labels that are there."""

import torch
from torch import Tensor
from torch.nn import functional


def masked_bce(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Multi-label binary cross entropy that leaves out labels nobody gave.

    Args:
        logits: One logit per image and task, shape (N, T).
        labels: 0 or 1, NaN where the label is missing, shape (N, T).
        positive_weight: Weight of each task's positives, shape (T); None weighs all labels alike.

    Returns:
        Mean over the labels that are there, a scalar; 0 where there is none.
    """
    known = ~torch.isnan(labels)
    # PyTorch computes in the precision of the labels, not of the logits.
    weight = None if positive_weight is None else positive_weight.to(logits.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        logits, torch.nan_to_num(labels).to(logits.dtype), pos_weight=weight, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp_min(1)
