"""Augmentation on whole batches, each image with its own draw.

What an image undergoes is drawn first, on the CPU, from a generator of the caller's, and applied afterwards:
so a process that holds a part of a batch applies to it what one process with the whole batch would have.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import torch
from kornia import enhance, filters
from torch import Generator, Tensor
from torch.nn import functional

BLUR_KERNEL: Final = (9, 9)
"""Height and width in pixels: almost three standard deviations of the strongest blur to each side."""


@dataclass(frozen=True)
class Drawn:
    """What each image of a batch undergoes."""

    theta: Tensor
    """Affine map from output to input in grid_sample's coordinates, shape (N, 2, 3)."""
    colour: Tensor
    """Factors of brightness, contrast and saturation, shape (N, 3)."""
    channels: Tensor
    """Factors of red, green and blue, shape (N, 3)."""
    blur: Tensor
    """Standard deviation of a Gaussian blur in pixels of the result, shape (N); 0 for none."""
    noise: Tensor
    """Standard deviation of Gaussian noise, of values in [0, 1], shape (N); 0 for none."""
    noise_seeds: Tensor
    """Of each image's noise, shape (N), int64."""

    def part(self, chosen: slice) -> "Drawn":
        """What some images of the batch undergo."""
        return Drawn(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from: rotation by any angle and flips always, the rest as given."""

    area: tuple[float, float]
    """Area of the part that is cut out, relative to the image; above 1 the surroundings are mirrored in."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Height of the part relative to its width, before both become the input size."""
    shift: float = 0.0
    """How far the part may lie off the centre where it fills the image, in half widths."""
    colour: float = 0.0
    """Largest change of brightness, contrast and saturation, as a part of 1."""
    colour_chance: float = 0.8
    """Probability that the colours change at all."""
    channels: float = 0.0
    """Largest change of red, green and blue apart from each other, as a part of 1: lights differ."""
    blur: float = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels of the result: some photographs are out of
    focus, or were enlarged."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise, of values in [0, 1]."""
    degraded_chance: float = 0.5
    """Probability of blur, and, drawn apart, of noise."""

    def draw(self, count: int, generator: Generator) -> Drawn:
        """Draw for `count` images."""
        chance = torch.rand(count, 11, generator=generator).unbind(1)
        area = _between(chance[0], *self.area)
        aspect = torch.exp(_between(chance[1], math.log(self.aspect[0]), math.log(self.aspect[1])))
        half = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=1)  # (N, 2): x, y
        centre = (torch.stack(chance[2:4], dim=1) * 2 - 1) * (1 - half).clamp_min(self.shift)
        half = half * torch.where(torch.stack(chance[4:6], dim=1) < 0.5, -1.0, 1.0)
        angle = chance[6] * 2 * math.pi
        cosine, sine = angle.cos(), angle.sin()
        rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
        theta = torch.cat([rotation * half[:, None], rotation @ centre[:, :, None]], dim=2)  # (N, 2, 3)
        colour = 1 + self.colour * (torch.stack(chance[7:10], dim=1) * 2 - 1)
        unchanged = (chance[10] >= self.colour_chance)[:, None]
        channels = torch.ones(count, 3)
        if self.channels:
            channels += self.channels * (torch.rand(count, 3, generator=generator) * 2 - 1)
        degraded = torch.rand(2, 2, count, generator=generator)
        amounts = torch.where(degraded[0] < self.degraded_chance, degraded[1], 0.0)
        seeds = torch.randint(2**31, (count,), generator=generator)
        return Drawn(
            theta,
            torch.where(unchanged, torch.ones_like(colour), colour),
            channels,
            self.blur * amounts[0],
            self.noise * amounts[1],
            seeds,
        )


def apply(images: Tensor, drawn: Drawn, size_px: int | None = None) -> Tensor:
    """Augment images.

    Args:
        images: RGB images in [0, 1], shape (N, 3, H, W).
        drawn: What each of them undergoes.
        size_px: Height and width of the result, at least half of those of the images; None for theirs.

    Returns:
        Images in [0, 1], shape (N, 3, size_px, size_px), or as they came.
    """
    images = move(images, drawn, size_px)
    images = (images * drawn.channels.to(images.device)[:, :, None, None]).clamp(0, 1)
    brightness, contrast, saturation = drawn.colour.to(images.device).unbind(1)
    images = enhance.adjust_brightness_accumulative(images, brightness)
    images = enhance.adjust_contrast_with_mean_subtraction(images, contrast)
    images = enhance.adjust_saturation_with_gray_subtraction(images, saturation)
    return _add_noise(_blur(images, drawn), drawn)


def move(maps: Tensor, drawn: Drawn, size_px: int | None = None) -> Tensor:
    """Turn, flip, crop and scale images or masks (N, C, H, W), mirrored beyond their edge; see `apply`."""
    size = maps.shape[2:] if size_px is None else (size_px, size_px)
    shape = [*maps.shape[:2], *size]
    grid = functional.affine_grid(drawn.theta.to(maps.device), shape, align_corners=False)
    return functional.grid_sample(maps, grid, padding_mode="reflection", align_corners=False)


def _blur(images: Tensor, drawn: Drawn) -> Tensor:
    blurred = drawn.blur > 0
    if not blurred.any():
        return images
    sigma = drawn.blur[blurred, None].expand(-1, 2).to(images.device)
    images = images.clone()
    images[blurred.to(images.device)] = filters.gaussian_blur2d(
        images[blurred.to(images.device)], BLUR_KERNEL, sigma
    )
    return images


def _add_noise(images: Tensor, drawn: Drawn) -> Tensor:
    """Add noise that an image's own seed gives, so that it does not depend on its place in a batch."""
    if not drawn.noise.any():
        return images
    noise = torch.stack(
        [
            torch.randn(images.shape[1:], generator=Generator().manual_seed(int(seed))) * amount
            for seed, amount in zip(drawn.noise_seeds, drawn.noise, strict=True)
        ]
    )
    return (images + noise.to(images)).clamp(0, 1)


def _between(chance: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * chance


CONTRASTIVE = Augmentation(area=(0.25, 1.0), aspect=(3 / 4, 4 / 3), colour=0.4)
"""T1 and T2 of f_CLR: rotation, scaling, cropping, flipping, brightness, contrast, saturation.

Parts begin at 0.25 of the image, not at SimCLR's 0.08: a twelfth of a photograph often misses the lesion.

Source: the paper, section 4.2 and A.3; aspect and strength of colour from SimCLR, arXiv:2002.05709, A.
"""

CLASSIFICATION = Augmentation(area=(0.64, 1.56), shift=0.1, colour=0.15)
"""Mild augmentation of f_Res: a lesion may lie anywhere, at any angle, under slightly different light."""

STRONG = Augmentation(
    area=(0.5, 1.1), aspect=(0.8, 1.25), shift=0.1, colour=0.25, channels=0.1, blur=1.5, noise=0.04
)
"""Augmentation of f_Res for long training: crops of half the photograph and more, other light and cameras,
blur and noise."""

OF_CLASSIFICATION: Mapping[str, Augmentation] = {"mild": CLASSIFICATION, "strong": STRONG}
"""By the configuration's word."""
