"""What heatmaps cost: a classifier with them against the plain one, in ONNX Runtime and in PyTorch."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM

from benchmarks.zoo.models import Specimen, export_specimen
from benchmarks.zoo.runtimes import load_onnxruntime, load_openvino
from onnx_gradcam.explanation import Explanation, add_heatmaps
from onnx_gradcam.model_file import save_model

ROUNDS = 7
"""Rounds; all sides take turns within each."""

LEAST_SECONDS = 0.2
"""Time that one side works in one round, at least."""


@dataclass(frozen=True)
class Cost:
    """What was measured: milliseconds per image of the medians, batches of one, float32."""

    model: str
    """Name in torchvision."""
    family: str
    """Its family."""
    size_px: int
    """Height and width of the images."""
    threads: int
    """Threads of PyTorch; ONNX Runtime and OpenVINO choose their own."""
    onnxruntime_ms: float
    """The plain graph in ONNX Runtime."""
    onnxruntime_ratio: float
    """The graph with the heatmap of the best class at the last layer, of the input's size, divided by the
    plain one: median of the rounds' ratios."""
    openvino_ms: float
    """The plain graph in OpenVINO."""
    openvino_ratio: float
    """The same there."""
    pytorch_ms: float
    """The model in PyTorch without gradients."""
    gradcam_ratio: float
    """A call of pytorch-grad-cam, which returns the same heatmap, divided by that."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def measure(specimen: Specimen) -> Cost:
    """Measure one classifier.

    Args:
        specimen: The classifier, float32.

    Returns:
        What it takes.
    """
    plain = export_specimen(specimen)
    explained = add_heatmaps(plain, Explanation(("late",)))
    images = specimen.images(1)
    inputs = {"images": images.numpy()}
    model, layer, to_maps = specimen.model, specimen.layers[1], specimen.family.to_maps
    sides: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory(prefix="biounet-edge-zoo-") as folder:
        for name, graph in (("plain", plain), ("explained", explained)):
            path = Path(folder) / f"{name}.onnx"
            save_model(graph, path)
            for runtime, load in (("onnxruntime", load_onnxruntime), ("openvino", load_openvino)):
                run = load(path)
                sides[f"{runtime} {name}"] = lambda run=run: run(inputs)  # type: ignore[misc]

    def forward() -> None:
        with torch.no_grad():
            model(images)

    sides["pytorch"] = forward
    # Hooks cost a plain pass nothing that could be measured, so they stay on the model.
    with GradCAM(model=model, target_layers=[layer], reshape_transform=to_maps) as cam:
        sides["gradcam"] = lambda: cam(input_tensor=images, targets=None)
        return _summary(specimen, _alternate(sides))


def _alternate(sides: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds per call of each side, one number for each round."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()  # warms up
    for _ in range(ROUNDS):
        for name, run in sides.items():
            calls, start = 0, time.perf_counter()
            while calls == 0 or time.perf_counter() - start < LEAST_SECONDS:
                run()
                calls += 1
            times[name].append(1000 * (time.perf_counter() - start) / calls)
    return times


def _summary(specimen: Specimen, rounds: dict[str, list[float]]) -> Cost:
    def ratio(numerator: str, denominator: str) -> float:
        return float(np.median(np.array(rounds[numerator]) / np.array(rounds[denominator])))

    return Cost(
        model=specimen.name,
        family=specimen.family.name,
        size_px=specimen.size_px,
        threads=torch.get_num_threads(),
        onnxruntime_ms=median(rounds["onnxruntime plain"]),
        onnxruntime_ratio=ratio("onnxruntime explained", "onnxruntime plain"),
        openvino_ms=median(rounds["openvino plain"]),
        openvino_ratio=ratio("openvino explained", "openvino plain"),
        pytorch_ms=median(rounds["pytorch"]),
        gradcam_ratio=ratio("gradcam", "pytorch"),
    )
