"""Heatmaps of one classifier, in ONNX and by pytorch-grad-cam: how far apart they are."""

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.zoo.float64 import run_float64, to_float32
from benchmarks.zoo.models import LAYERS, Specimen, export_specimen
from benchmarks.zoo.reference import raw_heatmaps
from benchmarks.zoo.runtimes import Run, compile_with_tensorrt_rtx, load_onnxruntime, load_openvino
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile
from biounet_edge.errors import BackendUnavailableError, InputError
from onnx_gradcam.cam_methods import Method
from onnx_gradcam.explanation import CLASS_INDEX, Explanation, add_heatmaps
from onnx_gradcam.model_file import save_model

IMAGES = 3
"""Images of each comparison, each with a class of its own."""

CLASSES_TRIED = 12
"""Classes among which those are looked for whose heatmaps are not all zero."""

FLOAT64_GATE = 1e-5
"""Largest difference in float64. About 1e-14 where all numbers are float64; ONNX keeps attributes, such as
the epsilon of a normalisation or the sixth in HardSwish, in float32, which leaves up to 1e-6."""

ROUNDINGS = 2
"""How often the weights are moved by what rounding to float32 does to a number."""

FLOAT32_GATE = 10.0
"""How many times as far as such weights, or PyTorch in float32, bring the heatmap a runtime may be from
float64. Random weights amplify rounding, so no fixed number would do for every network."""

SCORES_GATE = 1e-5
"""Largest difference of a score of the plain and the explained graph, relative to the largest score."""

FLOAT32_FLOOR = 1e-5
"""Difference that is always allowed."""


@dataclass(frozen=True)
class Differences:
    """Of the heatmaps of some images: the largest of a pixel, relative to the heatmap's maximum.

    A gradient may jump: an input of a ReLU that is 0 but for rounding, or two pixels of a MaxPool that are
    equal but for rounding, fall on either side. So some images differ by a percent, whoever computes them.
    """

    median: float
    """Of the images' differences."""
    largest: float
    """Of the images' differences."""


@dataclass(frozen=True)
class Agreement:
    """What was compared."""

    model: str
    """Name in torchvision."""
    family: str
    """Its family."""
    parameters: int
    """Number of weights."""
    size_px: int
    """Height and width of the images."""
    method: Method
    """How activations and gradients become a heatmap."""
    layer: str
    """Path of the module: of the first stage, or the last one with a place in the image."""
    grid: tuple[int, int]
    """Height and width of the heatmap."""
    nonzero: float
    """Share of pixels above zero, of the image that has fewest."""
    float64: Differences
    """The graph in float64 against pytorch-grad-cam in float64."""
    rounding: Differences
    """pytorch-grad-cam in float64 against itself with weights that were moved by a rounding to float32: how
    well conditioned the heatmap is."""
    pytorch: Differences
    """pytorch-grad-cam in float32 against itself in float64."""
    onnxruntime: Differences
    """ONNX Runtime in float32 against pytorch-grad-cam in float64."""
    openvino: Differences
    """OpenVINO in float32 against the same."""
    scores_unchanged: bool
    """Whether the scores of the explained graph are those of the plain one in ONNX Runtime, but for the
    rounding of operators that it fuses in the one and not in the other."""
    engine_bytes: int | None
    """Size of the engine for TensorRT for RTX; None where it was not compiled."""
    seconds: float
    """Time to write the heatmaps into the graph."""
    plain_is_refused: bool = False
    """Whether TensorRT for RTX does not even take the plain graph."""

    @property
    def passed(self) -> bool:
        """Whether all is within its gate."""
        allowed = max(FLOAT32_FLOOR, FLOAT32_GATE * max(self.rounding.largest, self.pytorch.largest))
        return (
            self.nonzero > 0
            and self.float64.largest <= FLOAT64_GATE
            and max(self.onnxruntime.median, self.openvino.median) <= allowed
            and self.scores_unchanged
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(record: dict[str, Any]) -> "Agreement":
        """Make a comparison of what `to_dict` returned, maybe by way of JSON.

        Args:
            record: The fields; others are passed over.

        Returns:
            The comparison.
        """
        names = {field.name for field in fields(Agreement)}
        values = {name: value for name, value in record.items() if name in names}
        sides = {name: Differences(**value) for name, value in values.items() if isinstance(value, dict)}
        return Agreement(**{**values, **sides, "grid": tuple(values["grid"])})


def compare(specimen: Specimen, method: Method = "gradcam", *, engines: bool = False) -> list[Agreement]:
    """Compare the heatmaps of both layers of a classifier.

    Args:
        specimen: The classifier.
        method: How activations and gradients become a heatmap.
        engines: Whether the graph is compiled with TensorRT for RTX too.

    Returns:
        One comparison for each layer.

    Raises:
        InputError: If no class was found whose heatmaps are not all zero.
        BackendUnavailableError: If TensorRT for RTX cannot compile the graph.
    """
    double = specimen.in_float64()
    plain = export_specimen(double)
    images = specimen.images(IMAGES)
    wanted = Explanation(LAYERS, logit="input", method=method, resize="none", normalize="none")
    start = time.perf_counter()
    explained = add_heatmaps(plain, wanted)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory(prefix="biounet-edge-zoo-") as folder:
        path, plain_path = Path(folder) / "explained.onnx", Path(folder) / "plain.onnx"
        save_model(to_float32(explained), path)
        save_model(to_float32(plain), plain_path)
        run = load_onnxruntime(path)
        classes = _classes_with_heatmaps(run, images.numpy())
        inputs = {"images": images.numpy(), CLASS_INDEX: np.array(classes, np.int64)}
        found = {"onnxruntime": run(inputs)}
        del run
        found["openvino"] = load_openvino(path)(inputs)
        size, refused = _compile(path, plain_path) if engines else (None, False)
        scores = load_onnxruntime(plain_path)({"images": images.numpy()})["scores"]
    room = SCORES_GATE * np.abs(scores).max()
    unchanged = bool(np.allclose(scores, found["onnxruntime"]["scores"], rtol=0, atol=room))
    found["float64"] = run_float64(explained, {**inputs, "images": images.double().numpy()})
    to_maps = specimen.family.to_maps
    in_float32 = raw_heatmaps(specimen.model, specimen.layers, images, classes, method, to_maps)
    truth = raw_heatmaps(double.model, double.layers, images.double(), classes, method, to_maps)
    moved = []
    for seed in range(ROUNDINGS):
        other = _with_moved_weights(double, seed)
        moved.append(raw_heatmaps(other.model, other.layers, images.double(), classes, method, to_maps))
    return [
        Agreement(
            model=specimen.name,
            family=specimen.family.name,
            parameters=sum(parameter.numel() for parameter in specimen.model.parameters()),
            size_px=specimen.size_px,
            method=method,
            layer=module,
            grid=(truth[number].shape[1], truth[number].shape[2]),
            nonzero=float((truth[number] > 0).mean(axis=(1, 2)).min()),
            float64=differences(found["float64"][f"heatmap_{layer}"], truth[number]),
            rounding=differences(
                np.concatenate([heatmaps[number] for heatmaps in moved]),
                np.concatenate([truth[number]] * ROUNDINGS),
            ),
            pytorch=differences(in_float32[number], truth[number]),
            onnxruntime=differences(found["onnxruntime"][f"heatmap_{layer}"], truth[number]),
            openvino=differences(found["openvino"][f"heatmap_{layer}"], truth[number]),
            scores_unchanged=unchanged,
            engine_bytes=size,
            seconds=seconds,
            plain_is_refused=refused,
        )
        for number, (layer, module) in enumerate(
            zip(LAYERS, (specimen.family.early, specimen.family.last), strict=True)
        )
    ]


def differences(heatmaps: NDArray[np.floating], truth: NDArray[np.floating]) -> Differences:
    """Compare heatmaps.

    Args:
        heatmaps: Shape (N, h, w).
        truth: What they should be.

    Returns:
        Their differences; infinite where a heatmap that should be there is all zero.
    """
    maxima = truth.max(axis=(1, 2))
    if heatmaps.shape != truth.shape or (maxima <= 0).any():
        return Differences(float("inf"), float("inf"))
    found = np.abs(heatmaps - truth).max(axis=(1, 2)) / maxima
    return Differences(float(np.median(found)), float(found.max()))


def _compile(path: Path, plain_path: Path) -> tuple[int | None, bool]:
    """Size of the explained graph's engine; and whether there is none because of the plain graph."""
    batches = BatchProfile(1, IMAGES, 4)
    try:
        return compile_with_tensorrt_rtx(path, batches), False
    except BackendUnavailableError:
        try:
            compile_with_tensorrt_rtx(plain_path, batches)
        except BackendUnavailableError:
            return None, True
        raise


def _classes_with_heatmaps(run: Run, images: NDArray[np.float32]) -> list[int]:
    """For each image the class whose heatmaps, of all layers, have most pixels above zero."""
    shares = []
    for index in range(CLASSES_TRIED):
        heatmaps = run({"images": images, CLASS_INDEX: np.full(len(images), index, np.int64)})
        shares.append([(heatmaps[f"heatmap_{layer}"] > 0).mean(axis=(1, 2)) for layer in LAYERS])
    least = np.array(shares).min(axis=1)  # (classes, images): of the layer that has fewer
    if (least.max(axis=0) == 0).any():
        raise InputError(f"all of {CLASSES_TRIED} classes have a heatmap that is all zero")
    return [int(index) for index in least.argmax(axis=0)]


def _with_moved_weights(specimen: Specimen, seed: int) -> Specimen:
    """Move every weight at random by at most half a unit in the last place of a float32."""
    moved = copy.deepcopy(specimen)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.model.parameters():
            noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype) * 2 - 1
            parameter.mul_(1 + 2.0**-24 * noise)
    return moved


def failed(agreements: Sequence[Agreement]) -> list[str]:
    """Name what is not within its gate.

    Args:
        agreements: The comparisons.

    Returns:
        A line for each.
    """
    return [
        f"{item.model} {item.layer}: float64 {item.float64.largest:.0e}, rounding "
        f"{item.rounding.largest:.0e}, PyTorch {item.pytorch.largest:.0e}, ONNX Runtime "
        f"{item.onnxruntime.median:.0e}, OpenVINO {item.openvino.median:.0e}, above zero "
        f"{item.nonzero:.0%}, scores {'unchanged' if item.scores_unchanged else 'changed'}"
        for item in agreements
        if not item.passed
    ]
