"""Losses of Algorithm 1 and its baselines, one file each."""

from train.losses.bce import masked_bce
from train.losses.mask_supervision import mask_supervision
from train.losses.nt_xent import nt_xent
from train.losses.soft_dice import soft_dice
from train.losses.virtual_adversarial import adversarial_perturbation, bernoulli_divergence

__all__ = [
    "adversarial_perturbation",
    "bernoulli_divergence",
    "mask_supervision",
    "masked_bce",
    "nt_xent",
    "soft_dice",
]
