"""Convolutions in one to three dimensions."""

from collections.abc import Sequence

from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.onnx_gradcam.vjp.case import LINEAR, Case, Sample, generators, numbers
from tests.onnx_gradcam.vjp.windows import (
    AUTOMATIC,
    Ints,
    image_size,
    margin,
    reaches,
    resolve_pads,
    window_attributes,
)


@st.composite
def convolutions(draw: st.DrawFn) -> Sample:
    space = draw(st.integers(1, 3))
    given = draw(window_attributes(space))
    size = draw(image_size(given))
    group, inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = given["kernel_shape"] if draw(st.booleans()) else given.pop("kernel_shape")
    if group > 1:
        given["group"] = group
    rng = draw(generators())
    x = numbers(rng, draw(st.integers(1, 2)), group * inner, *size)
    weights = [numbers(rng, group * outer, inner, *kernel)]
    if draw(st.booleans()):
        weights.append(numbers(rng, group * outer))
    everything = (0, *range(2, 2 + space))
    free = draw(st.sampled_from([(), (0,)] if given.get("auto_pad") in AUTOMATIC else [(), (0,), everything]))
    return Sample([x, *weights], given, free=free)


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> Sample:
    space = draw(st.integers(1, 3))
    given = draw(window_attributes(space, pads_below_kernel=True))
    kernel = given.pop("kernel_shape")
    strides, dilations = given.get("strides", [1] * space), given.get("dilations", [1] * space)
    size = [draw(st.integers(3, 5)) for _ in range(space)]
    if any(stride > reach + 1 for stride, reach in zip(strides, reaches(kernel, dilations), strict=True)):
        given.pop("auto_pad", None)  # nothing to cut off: onnx and ONNX Runtime differ in the size
    if draw(st.booleans()):
        given["output_padding"] = [draw(st.integers(0, stride - 1)) for stride in strides]
    if draw(st.booleans()) and given.get("auto_pad", "") != "VALID":
        given.pop("pads", None)
        full = [
            s * (n - 1) + r + 1 for s, n, r in zip(strides, size, reaches(kernel, dilations), strict=True)
        ]
        given["output_shape"] = [
            draw(st.integers(max(n, length - 2), max(n, length)))
            for n, length in zip(size, full, strict=True)
        ]
    group, inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if group > 1:
        given["group"] = group
    rng = draw(generators())
    x = numbers(rng, draw(st.integers(1, 2)), group * inner, *size)
    weight = numbers(rng, group * inner, outer, *kernel)
    automatic = given.get("auto_pad") in AUTOMATIC or "output_shape" in given
    free = draw(st.sampled_from([(), (0,)] if automatic else [(), (0,), (0, *range(2, 2 + space))]))
    return Sample(
        [x, weight, *([numbers(rng, group * outer)] if draw(st.booleans()) else [])], given, free=free
    )


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, kernel_shape: Sequence[int] = (),
    strides: Ints = None, dilations: Ints = None, pads: Ints = None, auto_pad: str = "NOTSET", group: int = 1,
) -> Tensor:  # fmt: skip
    kernel = weight.shape[2:]
    strides = strides or [1] * len(kernel)
    margins = resolve_pads(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernel) - 1]
    dilation = dilations or [1] * len(kernel)
    return function(functional.pad(x, margin(*margins)), weight, bias, strides, 0, dilation, group)


def conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, strides: Ints = None,
    dilations: Ints = None, pads: Ints = None, auto_pad: str = "NOTSET",
    group: int = 1, output_padding: Ints = None, output_shape: Ints = None,
) -> Tensor:  # fmt: skip
    """All that x is spread to, with rows added at its end, and then cut at both ends."""
    space = x.ndim - 2
    strides, dilations = strides or [1] * space, dilations or [1] * space
    function = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[
        space - 1
    ]
    full = function(x, weight, None, strides, 0, 0, group, dilations)
    full = functional.pad(full, margin([0] * space, output_padding or [0] * space))
    begin, end = list(pads or [0] * 2 * space)[:space], list(pads or [0] * 2 * space)[space:]
    if auto_pad in AUTOMATIC and output_shape is None:
        output_shape = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if output_shape is not None:
        totals = [size - wanted for size, wanted in zip(full.shape[2:], output_shape, strict=True)]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        begin, end = (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)
    cut = functional.pad(full, margin([-pad for pad in begin], [-pad for pad in end]))
    return cut if bias is None else cut + bias.reshape(-1, *[1] * space)


CASES = [
    Case("Conv", conv, convolutions(), **LINEAR),
    Case("ConvTranspose", conv_transpose, transposed_convolutions(), **LINEAR),
]
