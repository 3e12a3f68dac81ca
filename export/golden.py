"""The inputs that a bundle carries to be verified with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import read_input
from train.data.dataset import normalise
from train.gradcam import divide_by_maximum, explain
from train.network import BioUNet
from train.synthesis import render_lesion

FEWEST, MOST = 2, 4
"""Golden images in a bundle: two show that different images give different answers, four are enough."""

RENDERED = 3
"""Golden images where none are given."""

CANDIDATES = 12
"""Rendered images to choose from at most."""

SEED = 0

ROUNDING = 5e-7
"""Noise on normalised pixels, a few times what float32 rounds off them."""

STABLE = 1e-3
"""Largest change of heatmaps under that noise that calls for no better image."""


def read_golden_images(paths: Sequence[Path], size_px: int) -> NDArray[np.uint8]:
    """Read images from files, as the runtime does.

    Args:
        paths: Image files.
        size_px: Height and width of the network's input.

    Returns:
        RGB images, shape (G, size_px, size_px, 3).

    Raises:
        ExportError: If there are too few or too many.
        ImageError: If one cannot be read.
    """
    if not FEWEST <= len(paths) <= MOST:
        raise ExportError(f"expected {FEWEST} to {MOST} golden images, got {len(paths)}")
    return np.stack([read_input(path, size_px, size_px) for path in paths])


def render_golden_images(model: BioUNet) -> NDArray[np.uint8]:
    """Render lesions and choose those that can tell a right graph from a wrong one.

    A heatmap of zeros agrees with any other heatmap of zeros, so together they show every indicator if they
    can. And where an activation is zero but for rounding, its ReLU may switch in one runtime and not in
    another, and the gradient with it: images whose heatmaps rounding moves least come first.

    Args:
        model: The trained network, in evaluation mode.

    Returns:
        RGB images, shape (G, H, W, 3).
    """
    candidates = sorted(_candidates(model), key=lambda candidate: candidate.change)
    chosen: list[_Candidate] = []
    for indicator in INDICATORS:
        if not any(indicator in candidate.visible for candidate in chosen):
            chosen += [candidate for candidate in candidates if indicator in candidate.visible][:1]
    spare = [candidate for candidate in candidates if candidate not in chosen]
    chosen += spare[: max(0, RENDERED - len(chosen))]
    return np.stack([candidate.image for candidate in chosen[:MOST]])


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A rendered image and what the model's heatmaps make of it."""

    image: NDArray[np.uint8]
    """RGB, shape (H, W, 3)."""
    visible: frozenset[str]
    """Indicators whose last heatmap is not all zero."""
    change: float
    """How far noise of the size of rounding moves the heatmaps."""


def _candidates(model: BioUNet) -> list[_Candidate]:
    """Examine rendered images until there are enough good ones, or CANDIDATES."""
    rng = np.random.default_rng(SEED)
    size_px = model.config.image_size_px
    candidates: list[_Candidate] = []
    for _ in range(CANDIDATES):
        candidates.append(_examine(model, render_lesion(rng, size_px, size_px).image))
        stable = [candidate.visible for candidate in candidates if candidate.change <= STABLE]
        if len(stable) >= RENDERED and set[str]().union(*stable) == set(INDICATORS):
            break
    return candidates


def _examine(model: BioUNet, image: NDArray[np.uint8]) -> _Candidate:
    pixels = normalise(torch.from_numpy(image[None]))
    noise = ROUNDING * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(SEED))
    visible, change = set(), 0.0
    for name in INDICATORS:
        network = model.network(name)
        raw, *disturbed = (
            explain(network.encoder, network.classification_head, pixels + offset, task=0).raw_heatmaps
            for offset in (torch.zeros(()), noise, -noise)
        )
        if raw[-1].any():
            visible.add(name)
        change = max(change, *(_largest_difference(raw, other) for other in disturbed))
    return _Candidate(image, frozenset(visible), change)


def _largest_difference(first: list[Tensor], second: list[Tensor]) -> float:
    """Largest difference of two lists of heatmaps, each divided by its maximum."""
    pairs = zip(map(divide_by_maximum, first), map(divide_by_maximum, second), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
