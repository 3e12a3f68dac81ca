"""Pooling over windows, in one to three dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch import Tensor

from tests.onnx_gradcam.vjp.case import LINEAR, Case, Sample, distinct, generators
from tests.onnx_gradcam.vjp.windows import (
    AUTOMATIC,
    Ints,
    image_size,
    reaches,
    resolve_pads,
    window_attributes,
    windows_of,
)


@st.composite
def pools(draw: st.DrawFn, average: bool) -> Sample:
    space = draw(st.integers(1, 3))
    given = draw(window_attributes(space, pads_below_kernel=True))
    size = draw(image_size(given))
    strides, dilations = given.get("strides", [1] * space), given.get("dilations")
    if any(s > r + 1 for s, r in zip(strides, reaches(given["kernel_shape"], dilations), strict=True)):
        given.pop("auto_pad", None)  # less than no padding, which ONNX Runtime refuses
    # onnx 1.23 infers a size with a window behind the image, ONNX Runtime leaves that window out.
    behind = last_window_is_behind(size, given)
    if "auto_pad" not in given and not behind and draw(st.booleans()):
        given["ceil_mode"] = 1
    if average and draw(st.booleans()):
        given["count_include_pad"] = 1
    x = distinct(draw(generators()), draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    padded = given.get("auto_pad") in AUTOMATIC or any(given.get("pads", ())) or "ceil_mode" in given
    free = draw(st.sampled_from([(), (0,)] if padded else [(), (0,), tuple(range(2 + space))]))
    return Sample([x], given, free=free)


def last_window_is_behind(size: Sequence[int], given: Mapping[str, Any]) -> bool:
    """Whether rounding up adds a window that starts behind the image."""
    kernel = given["kernel_shape"]
    pads, strides = given.get("pads", [0] * 2 * len(kernel)), given.get("strides", [1] * len(kernel))
    reach = reaches(kernel, given.get("dilations"))
    rows = zip(size, strides, reach, pads[: len(kernel)], pads[len(kernel) :], strict=True)
    return any(-(-(n + b + e - r - 1) // s) * s >= n + b for n, s, r, b, e in rows)


def average_pool(
    x: Tensor, kernel_shape: Sequence[int], strides: Ints = None, dilations: Ints = None,
    pads: Ints = None, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:  # fmt: skip
    strides = strides or [1] * len(kernel_shape)
    margins = resolve_pads(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    pixels, inside, counted = windows_of(x, kernel_shape, strides, dilations, *margins, ceil_mode, fill=0)
    return pixels.sum(-1) / (counted if count_include_pad else inside).sum(-1)


def max_pool(
    x: Tensor, kernel_shape: Sequence[int], strides: Ints = None, dilations: Ints = None,
    pads: Ints = None, auto_pad: str = "NOTSET", ceil_mode: int = 0,
) -> Tensor:  # fmt: skip
    strides = strides or [1] * len(kernel_shape)
    margins = resolve_pads(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    return windows_of(x, kernel_shape, strides, dilations, *margins, ceil_mode, fill=-np.inf)[0].amax(-1)


CASES = [
    Case("AveragePool", average_pool, pools(average=True), **LINEAR),
    Case("MaxPool", max_pool, pools(average=False), **(LINEAR | {"step": 2.0**-8})),
]
