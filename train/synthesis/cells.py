"""Irregular honeycombs: the ground plan of networks, globules and skin furrows."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from train.synthesis.arrays import FloatArray, IntArray
from train.synthesis.noise import smooth_noise

FINE_CELL_PX = 8.0
"""Cells are drawn at least this large, then averaged down, so that their walls are smooth."""

MAX_SUPERSAMPLING = 3
"""Finer than this costs time and shows nothing."""


@dataclass(frozen=True)
class Cells:
    """An irregular honeycomb (Voronoi tessellation) sampled finer than the picture."""

    wall_distance: FloatArray
    """Distance to the nearest wall in cell spacings, shape (height * factor, width * factor)."""
    centre_distance: FloatArray
    """Distance to the cell's own centre in cell spacings, same shape."""
    label: IntArray
    """Number of the cell, 0 <= label < count, same shape."""
    count: int
    """Number of cells."""
    factor: int
    """Supersampling factor."""

    def shrink(self, pattern: FloatArray) -> FloatArray:
        """Average a finely sampled pattern down to picture pixels."""
        if self.factor == 1:
            return pattern
        size = (pattern.shape[1] // self.factor, pattern.shape[0] // self.factor)
        return np.asarray(cv2.resize(pattern, size, interpolation=cv2.INTER_AREA), np.float32)

    def enlarge(self, field: FloatArray) -> FloatArray:
        """Bring a field on picture pixels to the fine sampling."""
        if self.factor == 1:
            return field
        size = (self.label.shape[1], self.label.shape[0])
        return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), np.float32)


def draw_cells(
    rng: np.random.Generator,
    height: int,
    width: int,
    spacing_px: float,
    *,
    jitter: float,
    stretch: float = 1.0,
    warp: float = 0.5,
    merged: float = 0.0,
) -> Cells:
    """Draw a honeycomb over a rectangle.

    Args:
        rng: Source of randomness.
        height: Rows of the rectangle.
        width: Columns of the rectangle.
        spacing_px: Mean distance between cell centres across the short axis of a cell.
        jitter: Displacement of the centres in spacings; 0 is a regular honeycomb.
        stretch: Length of a cell over its width.
        warp: Strength of the smooth distortion in spacings: bends walls, varies sizes.
        merged: Share of cells that lose the wall to a neighbour.

    Returns:
        The cells.
    """
    factor = int(np.clip(math.ceil(FINE_CELL_PX / spacing_px), 1, MAX_SUPERSAMPLING))
    spacing = spacing_px * factor
    rows, columns = height * factor, width * factor

    # Where each pixel looks in the plane in which cells are isotropic.
    angle = rng.uniform(0, math.pi)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
    plane_x = (x * cosine + y * sine) / np.float32(stretch)
    plane_y = y * cosine - x * sine
    for wavelength, share in ((5.0, 1.0), (1.6, 0.35)):  # in spacings: drifting sizes, bent walls
        amount = np.float32(warp * share * spacing)
        for plane in (plane_x, plane_y):
            bent = smooth_noise(rng, height, width, wavelength * spacing_px)
            plane += amount * np.asarray(cv2.resize(bent, (columns, rows), interpolation=cv2.INTER_LINEAR))
    plane_x -= plane_x.min() - 1
    plane_y -= plane_y.min() - 1
    plane_height, plane_width = int(plane_y.max()) + 3, int(plane_x.max()) + 3

    label, centre, count = _honeycomb(rng, plane_height, plane_width, spacing, jitter, merged)
    wall = _distance_to_change(label)
    scale = np.float32(1 / spacing)
    nearest = label[np.rint(plane_y).astype(np.intp), np.rint(plane_x).astype(np.intp)]
    return Cells(
        wall_distance=cv2.remap(wall, plane_x, plane_y, cv2.INTER_LINEAR) * scale,
        centre_distance=cv2.remap(centre, plane_x, plane_y, cv2.INTER_LINEAR) * scale,
        label=nearest,
        count=count,
        factor=factor,
    )


def _honeycomb(
    rng: np.random.Generator, height: int, width: int, spacing: float, jitter: float, merged: float
) -> tuple[IntArray, FloatArray, int]:
    """Labels (H, W), distance to the own centre in px (H, W) and number of cells of a jittered honeycomb."""
    row_gap = spacing * math.sqrt(3) / 2
    rows, columns = int(height / row_gap) + 2, int(width / spacing) + 2
    grid_y, grid_x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    x = (grid_x + 0.5 * (grid_y % 2)) * spacing + rng.normal(0, jitter * spacing, grid_x.shape)
    y = grid_y * row_gap + rng.normal(0, jitter * spacing, grid_y.shape)
    seeds = np.full((height, width), 255, np.uint8)
    px = np.clip(np.rint(x), 0, width - 1).astype(np.intp).ravel()
    py = np.clip(np.rint(y), 0, height - 1).astype(np.intp).ravel()
    seeds[py, px] = 0
    centre, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    count = int(label.max()) + 1
    if merged > 0:
        table = np.arange(count, dtype=np.int32)
        lost = np.flatnonzero(rng.random(len(px) - 1) < merged)
        table[label[py[lost], px[lost]]] = label[py[lost + 1], px[lost + 1]]
        label = table[label]
    return np.asarray(label, np.int32), np.asarray(centre, np.float32), count


def _distance_to_change(label: IntArray) -> FloatArray:
    """Distance in px to the nearest place where the label changes, same shape, float32."""
    inside = np.full(label.shape, 255, np.uint8)
    inside[:, 1:][label[:, 1:] != label[:, :-1]] = 0
    inside[1:, :][label[1:, :] != label[:-1, :]] = 0
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5), np.float32)
