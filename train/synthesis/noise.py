"""Band-limited noise: the texture of skin, pigment and borders."""

import math

import cv2
import numpy as np

from train.synthesis.arrays import FloatArray

B_SPLINE_SPREAD = 151 / 315
"""Mean over one knot span of the sum of squared cubic B-spline weights: the variance that one axis leaves."""

SAMPLES_PER_WAVELENGTH = 6
"""Sampled this finely, noise comes through an enlargement unharmed."""


def smooth_noise(rng: np.random.Generator, height: int, width: int, wavelength_px: float) -> FloatArray:
    """Gaussian noise without detail finer than a wavelength.

    Random knots joined by cubic B-splines, one axis after the other: smooth at any size, and the same to
    the bit on any number of cores.

    Args:
        rng: Source of randomness.
        height: Rows of the result.
        width: Columns of the result.
        wavelength_px: Distance between knots in pixels.

    Returns:
        Noise of about zero mean and unit standard deviation, shape (height, width), float32.
    """
    step = int(wavelength_px / SAMPLES_PER_WAVELENGTH)
    if step > 1:  # draw it small and enlarge it: the same picture for a fraction of the time
        rows, columns = height // step + 2, width // step + 2
        small = smooth_noise(rng, rows, columns, wavelength_px / step)
        large = cv2.resize(small, (columns * step, rows * step), interpolation=cv2.INTER_CUBIC)
        edge = step // 2  # which only half a sample reaches
        return np.asarray(large[edge : edge + height, edge : edge + width], np.float32)
    wavelength = max(wavelength_px, 1.0)
    offsets = rng.random(2)
    knot_rows = int((height - 1) / wavelength + offsets[0]) + 4
    knot_columns = int((width - 1) / wavelength + offsets[1]) + 4
    knots = rng.standard_normal((knot_rows, knot_columns), dtype=np.float32) * np.float32(1 / B_SPLINE_SPREAD)
    partial = _interpolate(knots, height, wavelength, offsets[0])  # (height, knots)
    noise = _interpolate(np.ascontiguousarray(partial.T), width, wavelength, offsets[1])  # (width, height)
    return np.ascontiguousarray(noise.T)


def _interpolate(knots: FloatArray, length: int, wavelength: float, offset: float) -> FloatArray:
    """Join rows of knots (n, m) by cubic B-splines to (length, m)."""
    position = np.arange(length) / wavelength + offset
    first = position.astype(np.intp)
    t = position - first
    taps = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    total = np.zeros((length, knots.shape[1]), np.float32)
    for k, tap in enumerate(taps):
        total += knots[first + k] * (tap[:, None] / 6).astype(np.float32)
    return total


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, wavelength_px: float, octaves: int, gain: float = 0.5
) -> FloatArray:
    """Sum of smooth noise at halving wavelengths, shape (height, width), about unit standard deviation."""
    total = np.zeros((height, width), np.float32)
    power = 0.0
    for octave in range(octaves):
        wavelength = wavelength_px / 2**octave
        if octave and wavelength < 1.5:  # px; finer than the sampling
            break
        total += np.float32(gain**octave) * smooth_noise(rng, height, width, wavelength)
        power += gain ** (2 * octave)
    total /= np.float32(math.sqrt(power))
    return total


def smoothstep(low: float | FloatArray, high: float | FloatArray, value: FloatArray) -> FloatArray:
    """0 below `low`, 1 above `high`, smooth between, same shape as `value`."""
    t = np.clip((value - low) / (np.float32(high) - low), 0, 1)
    step: FloatArray = t * t * (3 - 2 * t)
    return step.astype(np.float32, copy=False)
