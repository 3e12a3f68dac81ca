"""Attributes of what slides over an image, and the same windows in PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

Ints = Sequence[int] | None

AUTOMATIC = ("SAME_UPPER", "SAME_LOWER")


@st.composite
def window_attributes(draw: st.DrawFn, space: int, pads_below_kernel: bool = False) -> dict[str, Any]:
    """Attributes of windows over so many axes, each there or left out."""

    def per_axis(least: int, most: int) -> list[int]:
        return [draw(st.integers(least, most)) for _ in range(space)]

    kernel = per_axis(1, 3)
    given: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        given["strides"] = per_axis(1, 3)
    if draw(st.booleans()):
        given["dilations"] = per_axis(1, 2)
    # ONNX Runtime has no automatic padding of dilated kernels.
    automatic = () if "dilations" in given else AUTOMATIC
    padding = draw(st.sampled_from(["none", "pads", "pads", "VALID", *automatic]))
    if padding == "pads":
        given["pads"] = [draw(st.integers(0, size - 1 if pads_below_kernel else 3)) for size in kernel * 2]
    elif padding != "none":
        given["auto_pad"] = padding
    return given


@st.composite
def image_size(draw: st.DrawFn, given: dict[str, Any]) -> list[int]:
    """Height, width: at least what one window needs without padding."""
    kernel = given["kernel_shape"]
    return [draw(st.integers(reach + 1, reach + 5)) for reach in reaches(kernel, given.get("dilations"))]


def reaches(kernel: Sequence[int], dilations: Ints) -> list[int]:
    return [d * (k - 1) for k, d in zip(kernel, dilations or [1] * len(kernel), strict=True)]


def resolve_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Ints,
    pads: Ints, auto_pad: str,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Begins and ends; SAME makes the output the input's size divided by the stride, rounded up."""
    if auto_pad not in AUTOMATIC:
        pads = list(pads or [0] * 2 * len(kernel))
        return pads[: len(kernel)], pads[len(kernel) :]
    totals = [
        max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
        for size, stride, reach in zip(sizes, strides, reaches(kernel, dilations), strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    return (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)


def margin(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """As functional.pad takes it: last axis first."""
    return [pad for pair in reversed(list(zip(begin, end, strict=True))) for pad in pair]


def windows_of(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Ints,
    begin: Sequence[int], end: Sequence[int], ceil_mode: int, fill: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Cuts an image into windows.

    Returns:
        The pixels of each window, shape (N, C, oh, ow, K); whether they are in the image, (oh, ow, K);
        whether they are in the image or its padding, which a last window may reach beyond in ceil_mode.
    """
    places, beyond = [], []
    reach = reaches(kernel, dilations)
    for axis, size in enumerate(x.shape[2:]):
        room = begin[axis] + size + end[axis] - reach[axis] - 1
        count = (-(-room // strides[axis]) if ceil_mode else room // strides[axis]) + 1
        if ceil_mode and (count - 1) * strides[axis] >= size + begin[axis]:
            count -= 1  # a window that starts in the padding behind the image is left out
        steps = np.arange(kernel[axis]) * (1 if dilations is None else dilations[axis])
        places.append(torch.from_numpy(np.arange(count)[:, None] * strides[axis] + steps))  # (o, k)
        beyond.append(max(0, int(places[-1].max()) + 1 - begin[axis] - size))
    # 2 in the image, 1 in its padding, 0 beyond
    kind = torch.full((1, 1, *x.shape[2:]), 2.0).double()
    kind = functional.pad(
        functional.pad(kind, margin(begin, end), value=1), margin([0] * len(kernel), beyond)
    )
    padded = functional.pad(
        functional.pad(x, margin(begin, end), value=fill), margin([0] * len(kernel), beyond), value=fill
    )
    for axis, place in reversed(list(enumerate(places))):
        padded, kind = (
            value.index_select(2 + axis, place.reshape(-1)).unflatten(2 + axis, place.shape)
            for value in (padded, kind)
        )
    space = len(places)  # (N, C, oh, kh, ow, kw) to (N, C, oh, ow, kh kw)
    order = [0, 1, *range(2, 2 + 2 * space, 2), *range(3, 3 + 2 * space, 2)]
    padded, kind = (value.permute(order).flatten(2 + space) for value in (padded, kind))
    return padded, kind[0, 0] == 2, kind[0, 0] >= 1
