"""Resize. The rule has its numbers from onnx.reference, which is therefore no judge here."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.onnx_gradcam.vjp.case import LINEAR, Case, Sample, generators, numbers

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@st.composite
def resizes(draw: st.DrawFn) -> Sample:
    """Images whose height and width are changed, to a size or by a scale, named or not."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    optional: dict[str, Any] = {"coordinate_transformation_mode": st.sampled_from(COORDINATES)}
    if mode == "nearest":
        optional["nearest_mode"] = st.sampled_from(ROUNDINGS)
    if mode == "cubic":
        optional |= {
            "cubic_coeff_a": st.sampled_from([-0.5, -0.75]),
            "exclude_outside": st.sampled_from([0, 1]),
        }
    given = {"mode": mode} | draw(st.fixed_dictionaries({}, optional=optional))
    space = 2 if mode == "cubic" else draw(st.integers(1, 3))
    size = [draw(st.integers(2, 6)) for _ in range(space)]
    x = numbers(draw(generators()), draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    if space == 2 and mode != "nearest" and draw(st.booleans()):
        given["antialias"] = 1
    by_corners = given.get("coordinate_transformation_mode") in ("align_corners", "pytorch_half_pixel")
    by_scale = draw(st.booleans()) and not (by_corners and "antialias" in given)
    named = draw(st.booleans())
    if by_scale:
        values = [draw(st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 2.5])) for _ in size]
    else:
        values = [draw(st.integers(1, 9)) for _ in size]
    if named:
        given["axes"] = [axis - draw(st.sampled_from([0, 2 + space])) for axis in range(2, 2 + space)]
    else:
        values = [*([1.0, 1.0] if by_scale else x.shape[:2]), *values]
    parameter = np.array(values, np.float32 if by_scale else np.int64)
    inputs = [x, None, parameter] if by_scale else [x, None, None, parameter]
    return Sample(inputs, given, free=(0,) if (named or by_scale) and draw(st.booleans()) else ())


def resize(
    x: Tensor, roi: None, scales: Tensor | None, sizes: Tensor | None = None, *, mode: str,
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, antialias: int = 0,
    axes: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Axis by axis, pixel by pixel."""
    chosen = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes]
    x = x * 1
    for place, axis in enumerate(chosen):
        size = x.shape[axis]
        scale = float(scales[place]) if scales is not None else int(sizes[place]) / size  # type: ignore[index]
        result = floor(size * scale) if scales is not None else int(sizes[place])  # type: ignore[index]
        if scale == 1:
            continue
        places = [coordinate(k, size, result, scale, coordinate_transformation_mode) for k in range(result)]
        options = (mode, nearest_mode, cubic_coeff_a, exclude_outside, min(scale, 1) if antialias else 1)
        pixels = [interpolate(x.movedim(axis, 0), place, *options) for place in places]
        x = torch.stack(pixels, axis)
    return x


def coordinate(index: int, size: int, result: int, scale: float, mode: str) -> float:
    """Place in the input of a pixel of the output."""
    if mode == "asymmetric":
        return index / scale
    if mode == "align_corners":
        return index * (size - 1) / (result - 1) if result > 1 else 0
    if mode == "pytorch_half_pixel" and result == 1:
        return 0
    at = (index + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":  # the output's centre on the input's
        at += size / 2 * (1 - result / (scale * size))
    return at


def interpolate(
    x: Tensor, at: float, mode: str, rounding: str, a: float, exclude: int, sharpness: float
) -> Tensor:
    """A pixel between those along the first axis; beyond the image are copies of its last ones."""
    size = len(x)
    if mode == "nearest":
        nearest = {"floor": floor(at), "ceil": ceil(at), "round_prefer_floor": ceil(at - 0.5)}
        return x[min(max(nearest.get(rounding, floor(at + 0.5)), 0), size - 1)]
    kernel = keys if mode == "cubic" else triangle
    around = range(floor(at - 2 / sharpness), ceil(at + 2 / sharpness) + 1)
    weights = {place: kernel(sharpness * abs(at - place), a) for place in around}
    if exclude:
        weights = {place: weight for place, weight in weights.items() if 0 <= place < size}
    pixel = torch.zeros_like(x[0])
    for place, weight in weights.items():
        pixel = pixel + weight / sum(weights.values()) * x[min(max(place, 0), size - 1)]
    return pixel


def triangle(distance: float, _: float) -> float:
    return max(0, 1 - distance)


def keys(distance: float, a: float) -> float:
    """Keys, Cubic convolution interpolation for digital image processing, 1981, eq. 4 with a free."""
    d = distance
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0


CASES = [Case("Resize", resize, resizes(), **(LINEAR | {"tolerance": 1e-5, "slope_tolerance": 1e-5}))]
