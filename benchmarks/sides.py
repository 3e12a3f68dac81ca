"""The sides of a comparison: different ways to compute the same outputs from the same images and weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.parts import Arrays, ComputePart, answer, eager_part
from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import Level, Precision
from biounet_edge.checks.selection import open_backend
from biounet_edge.errors import InputError
from train.network import BioUNet

BASELINE = "eager"

SIDES = {
    BASELINE: "PyTorch, one autograd pass for all heatmaps of an indicator, input gradients only",
    "channels-last": "the same with images and weights in channels-last memory format",
    "eager-bfloat16": "the same under bfloat16 autocast",
    "grad-cam": "pytorch-grad-cam as its readme shows it: a call per layer, weight gradients on",
    "grad-cam-one-call": "pytorch-grad-cam, weights frozen, one call for all layers of an indicator",
    "compiled": "torch.compile with frozen weights; the gradient by torch.func inside the compiled function",
    "compiled-bfloat16": "the same under bfloat16 autocast",
    "cpu-float32": "this project's graph in ONNX Runtime",
    "cpu-int8": "this project's int8 graph in ONNX Runtime",
    "openvino-float32": "this project's graph in OpenVINO",
    "openvino-bfloat16": "this project's graph in OpenVINO, computed in bfloat16",
    "openvino-int8": "this project's int8 graph in OpenVINO",
}
"""What can be compared, the baseline first."""

SLOW = ("grad-cam",)
"""Sides that take ten times the baseline's time: they run on one image of a batch, and their row says so."""

_WITHOUT_GRADIENT = {"classify": ", no gradient at this level", "cam": ", for the last block only"}


@dataclass(frozen=True)
class Side:
    """One way to compute a level's outputs, ready to run."""

    name: str
    """One of `SIDES`."""
    description: str
    """What it is."""
    precision: Precision
    """Number format that it computes in."""
    answer: Callable[[NDArray[np.uint8]], Arrays]
    """From images (N, H, W, 3), uint8, to outputs by name."""
    images: int | None = None
    """Images of a batch that it computes; None for all."""


def open_side(name: str, bundle: Bundle, model: BioUNet, level: Level) -> Side:
    """Prepares one side.

    Args:
        name: One of `SIDES`.
        bundle: Graphs of this project's own sides.
        model: The same weights for PyTorch's sides.
        level: How much is computed.

    Returns:
        The side.

    Raises:
        InputError: If there is no such side, or it has nothing to compute at this level.
        BiounetEdgeError: If the bundle or the machine has no such backend or precision, or its check fails.
    """
    if name not in SIDES:
        raise InputError(f"there is no side {name!r}: choose from {', '.join(SIDES)}")
    device, _, number_format = name.rpartition("-")
    if device in ("cpu", "openvino"):
        precision = next(known for known in get_args(Precision) if known == number_format)
        backend = open_backend(bundle, level, device, precision).backend
        return Side(name, f"{SIDES[name]} ({backend.description})", backend.precision, backend.run)
    return Side(
        name,
        SIDES[name] + _WITHOUT_GRADIENT.get(level, ""),
        "bfloat16" if number_format == "bfloat16" else "float32",
        _torch_answer(name, model, level),
        images=1 if name in SLOW else None,
    )


def _torch_answer(name: str, model: BioUNet, level: Level) -> Callable[[NDArray[np.uint8]], Arrays]:
    compute = _compute_part(name, level)
    if name == "channels-last":
        model = deepcopy(model).to(memory_format=torch.channels_last)
    return lambda images: answer(model, compute, images)


def _compute_part(name: str, level: Level) -> ComputePart:
    """The libraries that only one side needs are imported for it alone."""
    if name.startswith("grad-cam"):
        from benchmarks.gradcam_library import call_per_layer, one_call

        return one_call(level) if name.endswith("one-call") else call_per_layer(level)
    if name.startswith("compiled"):
        from benchmarks.compiled_parts import compiled_part

        compute = compiled_part(level)
    else:
        compute = eager_part(level)
    if name == "channels-last":
        return lambda network, pixels: compute(network, pixels.to(memory_format=torch.channels_last))
    return _under_autocast(compute) if name.endswith("bfloat16") else compute


def _under_autocast(compute: ComputePart) -> ComputePart:
    def computed(network, pixels):  # type: ignore[no-untyped-def]
        with torch.autocast("cpu", torch.bfloat16):
            return compute(network, pixels)

    return computed
