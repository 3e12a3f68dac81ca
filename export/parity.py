"""Does the exported bundle compute what PyTorch computes? The gates, and why they stand where they do."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from biounet_edge.backends.telemetry import import_onnxruntime
from biounet_edge.bundle.folder import graph_file
from biounet_edge.bundle.manifest import FAMILIARITY
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from export.components import decoder_name, encoder_name
from export.compose import LEVEL_OUTPUTS
from export.reference import Reference
from train.data.dataset import normalise

Arrays = dict[str, NDArray[np.float32]]

FINEST = 3
"""The first heatmaps, to which the gradient passes most blocks: all of ResNet-50's first stage, and of
EfficientNet-Lite0's both at a quarter of the input size and one at an eighth."""

GATES: Mapping[str, float] = {
    "melanoma_probability": 1e-5,
    "melanoma_contribution": 1e-4,
    "indicator_probability": 1e-5,
    "heatmap": 1e-4,
    "heatmap_scale": 1e-4,
    "mask_probability": 1e-3,
    FAMILIARITY: 1e-4,
    "heatmaps, three finest": 1e-3,
    "heatmaps, nine others": 1e-4,
}
"""Largest accepted difference per output; absolute, of heatmap_scale relative.

The graphs compute in float32, whose relative rounding of 6e-8 grows to about 2e-6 through some fifty layers.
Probabilities: 1e-5, behind a sigmoid with a slope of at most 1/4. Contributions, log-odds of up to about 10,
and familiarity, which is about -1: 1e-4. Heatmaps: 1e-4, because a heatmap is a sum of positive and negative
terms and is divided by its own maximum: measured, it is off by 2e-6 times its cancellation (how much larger
the terms are than their sum), which is 1 to 30 for nearly all. To the three finest the gradient passes a
dozen more blocks, whose masks of ReLU or ReLU6 switch where an activation is at a bound but for rounding:
1e-3. Masks are computed from all twelve heatmaps: 1e-3, by themselves at every pixel, behind the heatmaps in
the mean over each mask's pixels, because a sharp border magnifies what moves a heatmap: PyTorch's own float32
is off by up to 0.07 in single pixels of the demo 0.3.0, and by up to 5e-4 in the mean. A wrong weight, pad or
rule differs by 0.1 and more.
"""

SWITCHING = ("mask_probability", "heatmaps, three finest", "heatmaps, nine others")
"""Outputs behind ReLU masks of the backward pass: their gate holds for the median over the golden images."""

LARGEST_SWITCH = 0.05
"""Largest difference of these on any single image.

Where an activation is zero but for rounding, its ReLU may switch in one runtime and not in another, and the
gradient through it with it. In the demo model that moved single heatmaps of autograd itself, in float32
against float64, by up to 4e-3, and noise of 1e-6 on the pixels by up to 2e-2. A mistake in the graph shows on
every image, and in the median.
"""

OWN_ROUNDING = 2.0
"""Times that a graph may be further from float64 than PyTorch's own float32 is, where that exceeds a gate.

The number of activations that are zero but for rounding grows with the image. In a model of full width at 512
pixels there are 80 times as many as in the demo, and its float32 autograd is off by 1e-4 to 3e-4 in the first
two stages' heatmaps on every image, which no graph can better.
"""

CANCELLATION = 30
"""Above it, a heatmap's difference is divided by cancellation / 30: float32 does not hold more of it."""

LAST_BLOCK = ("heatmap", "heatmap_scale")
"""Outputs that are the last of the twelve heatmaps, or come with it."""

SMALLEST_SCALE = 1e-6
"""Heatmap scales below it are compared as if they were it: a logit that nothing on the image moves."""

DIFFERENT = 1e-2
"""Two images must give heatmaps that differ somewhere by more than this, ten times the widest gate."""


@dataclass(frozen=True)
class ParityRow:
    """One output of one graph, compared with PyTorch."""

    graph: str
    """File name of the graph; with a * for the five of a kind."""
    output: str
    """Name of the output."""
    typical_difference: float
    """Absolute difference, of heatmap_scale relative, of masks behind heatmaps the mean over their pixels:
    the largest; of SWITCHING outputs, for each map the median over the images, and of these the largest."""
    gate: float
    """Largest typical difference that is accepted."""
    largest_difference: float
    """Largest difference on any image."""
    own_difference: float = 0.0
    """Typical difference of PyTorch's own float32; 0 where it was not computed."""

    @property
    def passed(self) -> bool:
        """Whether the differences are within the gates; false where one is not a number."""
        gate = max(self.gate, OWN_ROUNDING * self.own_difference)
        limit = LARGEST_SWITCH if self.output in SWITCHING else gate
        return self.typical_difference <= gate and self.largest_difference <= limit


def check_parity(folder: Path, reference: Reference) -> list[ParityRow]:
    """Run every graph of a bundle with ONNX Runtime and compare it with PyTorch.

    Args:
        folder: Where the graphs lie.
        reference: PyTorch's answers.

    Returns:
        One row per output and graph.

    Raises:
        ExportError: If a gate is missed, or there is no heatmap to compare.
    """
    _check_reference(reference)
    rows = [*_compare_levels(folder, reference), *_compare_components(folder, reference)]
    if missed := [row for row in rows if not row.passed]:
        raise ExportError(
            "the exported graphs do not compute what PyTorch computes: "
            + "; ".join(
                f"{row.graph} {row.output} differs by {row.typical_difference:.2g} (gate {row.gate:.0e}), "
                f"at most by {row.largest_difference:.2g}"
                for row in missed
            )
        )
    return rows


def _check_reference(reference: Reference) -> None:
    """Make sure that the comparison can fail: zeros agree with zeros, and equal heatmaps with equal ones."""
    if len(reference.images) < 2:
        raise ExportError(f"expected two golden images or more, got {len(reference.images)}")
    last = reference.outputs["heatmap"]  # (G, J, h, w)
    if hidden := [name for index, name in enumerate(INDICATORS) if not last[:, index].any()]:
        raise ExportError(
            f"the last heatmaps of {', '.join(hidden)} are all zero on every golden image, so that there is "
            "nothing to compare: name images that show these indicators with --golden"
        )


def _compare_levels(folder: Path, reference: Reference) -> Iterator[ParityRow]:
    of_model = tuple(name for name in (FAMILIARITY,) if name in reference.outputs)
    for level, outputs in LEVEL_OUTPUTS.items():
        names = (*outputs, *of_model)
        file = graph_file(level)
        actual = run_graph(folder / file, image=reference.images)
        for name in names:
            cancellation = reference.cancellation[:, :, -1].T if name in LAST_BLOCK else None  # (G, J)
            answers = (actual[name], reference.outputs[name], reference.single_outputs[name])
            if name == "mask_probability":
                yield _compare_means(file, name, *answers)
            else:
                yield _compare(file, name, answers[0], answers[1], cancellation, answers[2])


def _compare_components(folder: Path, reference: Reference) -> Iterator[ParityRow]:
    """The twelve heatmaps of the encoders, and the decoders on PyTorch's own heatmaps."""
    stacks, masks = [], []
    for index, indicator in enumerate(INDICATORS):
        pixels = normalise(torch.from_numpy(reference.images)).numpy()
        stacks.append(run_graph(folder / graph_file(encoder_name(indicator)), pixels=pixels)["heatmaps"])
        decoder = folder / graph_file(decoder_name(indicator))
        masks.append(run_graph(decoder, heatmaps=reference.heatmaps[index])["mask_probability"])
    actual = np.stack(stacks)  # (J, G, 12, Hs, Ws)
    _check_that_images_differ(actual)
    groups = {"heatmaps, three finest": slice(FINEST), "heatmaps, nine others": slice(FINEST, None)}
    for name, blocks in groups.items():
        heatmaps, expected, cancellation, single = (
            array[:, :, blocks].swapaxes(0, 1)
            for array in (actual, reference.heatmaps, reference.cancellation, reference.single_heatmaps)
        )
        yield _compare(graph_file(encoder_name("*")), name, heatmaps, expected, cancellation, single)
    name = "mask_probability"
    yield _compare(graph_file(decoder_name("*")), name, np.stack(masks, axis=1), reference.outputs[name])


def _check_that_images_differ(heatmaps: NDArray[np.float32]) -> None:
    for first, second in combinations(range(heatmaps.shape[1]), 2):
        if np.abs(heatmaps[:, first] - heatmaps[:, second]).max() <= DIFFERENT:
            raise ExportError(
                f"golden images {first + 1} and {second + 1} have the same heatmaps: "
                "name other images with --golden"
            )


def _compare(
    graph: str,
    name: str,
    actual: NDArray[np.float32],
    expected: NDArray[np.float32],
    cancellation: NDArray[np.float32] | None = None,
    single: NDArray[np.float32] | None = None,
) -> ParityRow:
    """Compare an output (G, ...), with heatmaps weighed by what float32 holds of them."""
    if actual.shape != expected.shape:
        return ParityRow(graph, name, float("inf"), GATES[name], float("inf"))
    typical, largest = _differences(name, actual, expected, cancellation)
    own = 0.0 if single is None else _differences(name, single, expected, cancellation)[0]
    return ParityRow(graph, name, typical, GATES[name], largest, own)


def _compare_means(
    graph: str,
    name: str,
    actual: NDArray[np.float32],
    expected: NDArray[np.float32],
    single: NDArray[np.float32],
) -> ParityRow:
    """Compare maps (G, J, H, W) by the mean over the pixels of each."""
    if actual.shape != expected.shape:
        return ParityRow(graph, name, float("inf"), GATES[name], float("inf"))
    exact = np.zeros((*expected.shape[:-2], 1, 1), np.float32)
    means, own = (
        np.abs(maps.astype(np.float64) - expected).mean(axis=(-2, -1), keepdims=True).astype(np.float32)
        for maps in (actual, single)
    )
    return _compare(graph, name, means, exact, single=own)


def _differences(
    name: str,
    actual: NDArray[np.float32],
    expected: NDArray[np.float32],
    cancellation: NDArray[np.float32] | None,
) -> tuple[float, float]:
    """Typical and largest difference, as `ParityRow` has them."""
    difference = np.abs(actual.astype(np.float64) - expected)
    if name == "heatmap_scale":
        difference /= np.maximum(np.abs(expected), SMALLEST_SCALE)
    if cancellation is not None:
        loss = np.maximum(cancellation / CANCELLATION, 1)
        difference /= loss.reshape(loss.shape + (1,) * (expected.ndim - loss.ndim))
    largest = typical = float(difference.max(initial=0.0))
    if name in SWITCHING:
        typical = float(np.median(difference.max(axis=(-2, -1)), axis=0).max())
    return typical, largest


def run_graph(path: Path, **inputs: NDArray[np.generic]) -> Arrays:
    """Run a graph once with ONNX Runtime on the CPU.

    Args:
        path: The ONNX file.
        inputs: Input arrays by name.

    Returns:
        Output arrays by name.
    """
    return open_graph(path)(**inputs)


def open_graph(graph: Path | ir.Model) -> Callable[..., Arrays]:
    """Load a graph into ONNX Runtime on the CPU.

    Args:
        graph: The ONNX file, or a graph that is not yet a file and has its weights in memory.

    Returns:
        A function from input arrays by name to output arrays by name.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = graph if isinstance(graph, Path) else ir.to_proto(graph).SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(**inputs: NDArray[np.generic]) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run
