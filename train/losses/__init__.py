"""Losses of Algorithm 1, one file each."""

from train.losses.bce import masked_bce
from train.losses.nt_xent import nt_xent
from train.losses.soft_dice import soft_dice

__all__ = ["masked_bce", "nt_xent", "soft_dice"]
