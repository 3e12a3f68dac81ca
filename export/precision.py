"""Which number formats a bundle's graphs compute in, and which of them may be written.

Each component is converted, the levels are composed of the converted components, and the composed graph is
judged on photographs against PyTorch in float32, Grad-CAM by autograd. A precision that misses a gate is not
written.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from biounet_edge.bundle.folder import graph_file
from biounet_edge.bundle.manifest import GraphPrecision, Manifest
from biounet_edge.checks.agreement import GATES, Agreement, AgreementMeter, Outputs
from biounet_edge.errors import ExportError
from biounet_edge.indicators import INDICATORS
from biounet_edge.photographs.decoding import read_input
from export.components import FUSION, decoder_name, encoder_name
from export.half import to_float16
from export.parity import ParityRow, open_graph
from export.quantize import to_int8
from export.reference import run_pytorch
from train.data.dataset import normalise
from train.network import BioUNet

FEWEST_PHOTOGRAPHS = 24
"""Photographs that a precision is judged on, at least."""

PARITY_NAME = "parity.json"

_BATCH = 2


@dataclass(frozen=True)
class Judgement:
    """One precision against PyTorch."""

    precision: GraphPrecision
    agreement: Agreement
    problems: list[str]
    """Gates that it misses; it is written where there are none."""


def convert(
    precision: GraphPrecision,
    components: Mapping[str, ir.Model],
    calibration: NDArray[np.uint8] | None,
    report: Callable[[str], None],
) -> dict[str, ir.Model]:
    """Copy all components in another precision.

    Args:
        precision: The new number format.
        components: The float32 components by name; they stay as they are.
        calibration: Images that show int8 the range of activations, shape (G, H, W, 3), RGB; None for none.
        report: Called with a line about what is being done.

    Returns:
        The new components by name. The fusion head stays in float32.

    Raises:
        ExportError: If int8 is asked for without calibration images.
    """
    if precision == "float32":
        return dict(components)
    if precision == "float16":
        report("writing the components in float16")
        return {name: to_float16(model) for name, model in components.items()}
    if calibration is None:
        raise ExportError("int8 needs images to calibrate with: name a folder with --calibration-images")
    pixels = normalise(torch.from_numpy(calibration)).numpy()
    converted = {FUSION: components[FUSION].clone()}
    for indicator in INDICATORS:
        report(f"calibrating int8: {indicator}")
        encoder, decoder = encoder_name(indicator), decoder_name(indicator)
        explain = open_graph(components[encoder])
        stacks = [explain(pixels=image[None])["heatmaps"] for image in pixels]
        converted[encoder] = to_int8(components[encoder], pixels)
        converted[decoder] = to_int8(components[decoder], np.concatenate(stacks))
    return {name: converted[name] for name in components}


def read_photographs(paths: Sequence[Path], size_px: int, fewest: int, purpose: str) -> NDArray[np.uint8]:
    """Read photographs as the network sees them.

    Args:
        paths: Image files.
        size_px: Height and width of the network's input.
        fewest: How many there must be.
        purpose: What they are for, for the error.

    Returns:
        RGB images, shape (G, size_px, size_px, 3).

    Raises:
        ExportError: If there are too few.
        ImageError: If one cannot be read.
    """
    if len(paths) < fewest:
        raise ExportError(f"expected at least {fewest} photographs {purpose}, got {len(paths)}: name more")
    return np.stack([read_input(path, size_px, size_px) for path in paths])


def evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """Take at most so many files, spread over all of them.

    Args:
        paths: Files.
        most: How many are enough.

    Returns:
        All of them, or every second, third ... one.
    """
    return list(paths[:: -(-len(paths) // most) or 1])


def judge(
    folder: Path,
    precisions: Sequence[GraphPrecision],
    manifest: Manifest,
    model: BioUNet,
    photographs: NDArray[np.uint8],
    report: Callable[[str], None],
) -> list[Judgement]:
    """Compare the full graph of each precision, run by ONNX Runtime, with PyTorch in float32.

    Args:
        folder: Where the graphs lie.
        precisions: Which there are.
        manifest: Says from where on something counts as present.
        model: The network, in evaluation mode.
        photographs: RGB images at the input size, shape (G, H, W, 3).
        report: Called with a line about what is being done.

    Returns:
        One judgement per precision.
    """
    starts = range(0, len(photographs), _BATCH)
    batches = [photographs[start : start + _BATCH] for start in starts]
    expected: list[Outputs] = []
    for number, images in enumerate(batches):
        report(f"PyTorch reads the photographs: batch {number + 1} of {len(batches)}")
        expected.append(run_pytorch(model, images))
    judgements = []
    for precision in precisions:  # one at a time: a graph of full width takes gigabytes
        report(f"judging {precision} on {len(photographs)} photographs")
        run = open_graph(folder / graph_file("full", precision))
        meter = AgreementMeter(manifest)
        for images, outputs in zip(batches, expected, strict=True):
            meter.add(run(image=images), outputs)
        agreement = meter.result()
        judgements.append(Judgement(precision, agreement, GATES[precision].problems(agreement)))
        del run
    return judgements


def parity_report(judgements: Sequence[Judgement], golden: Sequence[ParityRow]) -> str:
    """Write parity.json.

    Args:
        judgements: Each precision against PyTorch on photographs; may be empty.
        golden: Rows of the comparison on golden images.

    Returns:
        Indented JSON, with a newline at its end.
    """
    content = {
        "reference": f"PyTorch {torch.__version__}, Grad-CAM by autograd: "
        "float64 for golden, float32 for photographs",
        "golden": [vars(row) | {"passed": row.passed} for row in golden],
        "photographs": {
            judgement.precision: {
                "passed": not judgement.problems,
                "problems": judgement.problems,
                "gates": GATES[judgement.precision].to_dict(),
                "agreement": judgement.agreement.to_dict(),
            }
            for judgement in judgements
        },
    }
    return json.dumps(content, indent=2) + "\n"
