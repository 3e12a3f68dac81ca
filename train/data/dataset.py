"""Records as tensors: the pixels the runtime would see, labels with NaN where unknown, masks where known."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from biounet_edge.errors import DatasetError, ImageError
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import read_input
from train.data.records import Record, read_mask
from train.tasks import TASKS

MEAN = (0.485, 0.456, 0.406)
"""ImageNet channel means, of values in [0, 1]; the encoders start from ImageNet weights."""
STD = (0.229, 0.224, 0.225)


UNKNOWN: Final = 255
"""Value of a mask that nobody drew."""


def to_unit(images: Tensor) -> Tensor:
    """RGB images (N, H, W, 3) uint8 as (N, 3, H, W) float32 in [0, 1]."""
    return images.movedim(-1, 1).float() / 255


def standardise(pixels: Tensor) -> Tensor:
    """Network input, shape (N, 3, H, W), of images (N, 3, H, W) in [0, 1]."""
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    return (pixels - mean) / std


def normalise(images: Tensor) -> Tensor:
    """Network input, shape (N, 3, H, W) float32, from RGB images (N, H, W, 3) uint8."""
    return standardise(to_unit(images))


def resize(pixels: Tensor, size_px: int | None) -> Tensor:
    """Network input (N, 3, H, W) at another height and width, smoothed where it shrinks; None leaves it."""
    if size_px is None or pixels.shape[-2:] == (size_px, size_px):
        return pixels
    return functional.interpolate(pixels, size=(size_px, size_px), mode="bilinear", antialias=True)


class ImageSet:
    """Images of one side of the split with their labels and masks, at the network's input size."""

    def __init__(self, records: Sequence[Record], size_px: int, *, cache: bool) -> None:
        """Hold the records; pixels are read when asked for.

        Args:
            records: What is known about each image.
            size_px: Height and width of the input.
            cache: Keep pixels in memory, size_px^2 * 3 bytes an image, and masks, size_px^2 / 8 bytes each.
        """
        self.records = list(records)
        self.size_px = size_px
        self._cache: dict[int, NDArray[np.uint8]] | None = {} if cache else None
        self._masks: dict[tuple[int, str], NDArray[np.uint8]] = {}
        self._with_mask = {i: self.indices_where(lambda r, i=i: i in r.masks) for i in INDICATORS}  # type: ignore[misc]
        self._with_filled_mask = {
            i: [index for index in chosen if self.records[index].presence.get(i, False)]
            for i, chosen in self._with_mask.items()
        }
        self.labels = torch.tensor([labels_of(r) for r in self.records]).reshape(
            len(self.records), len(TASKS)
        )

    def __len__(self) -> int:
        return len(self.records)

    def image(self, index: int) -> NDArray[np.uint8]:
        """RGB pixels, shape (H, W, 3), uint8."""
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        record = self.records[index]
        try:
            image = read_input(record.image, self.size_px, self.size_px)
        except ImageError as error:
            raise DatasetError(
                f"{record.image}: {error}; restore the file or remove it from its source"
            ) from error
        if self._cache is not None:
            self._cache[index] = image
        return image

    def images(self, indices: Sequence[int]) -> Tensor:
        """A batch of images, shape (N, H, W, 3), uint8."""
        return torch.from_numpy(np.stack([self.image(i) for i in indices]))

    def masks(self, indices: Sequence[int], indicator: str) -> Tensor:
        """Truth of one indicator, shape (N, H, W), float 0 or 1."""
        return torch.from_numpy(np.stack([self._mask(index, indicator) for index in indices])).float()

    def masks_or_unknown(self, indices: Sequence[int], indicators: Sequence[str]) -> Tensor:
        """Truth of several indicators, shape (N, J, H, W), uint8: 0 or 1, UNKNOWN in masks nobody drew."""
        masks = np.full((len(indices), len(indicators), self.size_px, self.size_px), UNKNOWN, np.uint8)
        for row, index in enumerate(indices):
            record = self.records[index]
            for column, indicator in enumerate(indicators):
                if indicator in record.masks:
                    is_there = record.presence.get(indicator, True)
                    masks[row, column] = self._mask(index, indicator) if is_there else 0
        return torch.from_numpy(masks)

    def _mask(self, index: int, indicator: str) -> NDArray[np.bool_]:
        size = (self.size_px, self.size_px)
        packed = self._masks.get((index, indicator))
        if packed is not None:
            return np.unpackbits(packed, count=self.size_px**2).reshape(size).astype(bool)
        full = read_mask(self.records[index].masks[indicator]).astype(np.float32)
        mask: NDArray[np.bool_] = cv2.resize(full, size, interpolation=cv2.INTER_AREA) >= 0.5
        if self._cache is not None:
            self._masks[index, indicator] = np.packbits(mask)
        return mask

    def fill_cache(self) -> Iterator[None]:
        """Read every image once, yielding after each; nothing where there is no cache."""
        for index in range(len(self) if self._cache is not None else 0):
            self.image(index)
            yield

    def with_mask(self, indicator: str) -> list[int]:
        """Indices of the images that have a mask of the indicator, empty masks included."""
        return self._with_mask[indicator]

    def with_filled_mask(self, indicator: str) -> list[int]:
        """Indices of the images that have the indicator and a mask of it."""
        return self._with_filled_mask[indicator]

    def indices_where(self, condition: Callable[[Record], bool]) -> list[int]:
        """Indices of the records that fulfil a condition."""
        return [i for i, record in enumerate(self.records) if condition(record)]


def labels_of(record: Record) -> list[float]:
    """0, 1 or NaN for each of TASKS."""
    known = [record.presence.get(name) for name in INDICATORS] + [record.melanoma]
    return [float("nan") if value is None else float(value) for value in known]
