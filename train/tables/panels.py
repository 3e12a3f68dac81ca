"""Held-out images with every method's map of one indicator: what the panel of the paper's Figure 3 shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import InputError
from biounet_edge.evaluation.masks import continuous_dice
from train.checkpoint import ModelInfo, load_model
from train.config.run import TrainConfig, load_config
from train.data.dataset import ImageSet
from train.data.held_out import held_out
from train.data.records import Record
from train.evaluation.evaluate import choose_source
from train.evaluation.judge import Options
from train.evaluation.methods import Method, choose_methods
from train.evaluation.report import MethodName
from train.network import BioUNet
from train.run import Reporter, Silence
from train.tables import paper
from train.tables.rows import ROWS
from train.tables.runs import SIDE

BASELINES: Final[tuple[MethodName, ...]] = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "lime")
"""Methods that the paper shows on f_Res alone."""

METHOD_LABELS: Final[dict[MethodName, str]] = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "lime": "LIME",
    "decoder": "decoder",
}


@dataclass(frozen=True)
class ExplainedMap:
    """One method's answer."""

    title: str
    """Method and model, in two lines."""
    heatmap: NDArray[np.float32]
    """Shape (H, W), in [0, 1]."""
    truth: NDArray[np.bool_]
    """Expert mask at the size of the heatmap."""
    run: int = 0
    """Which of the runs, counted from 0."""

    @property
    def continuous_dice(self) -> float:
        """Of the map as it is, against the expert mask."""
        return continuous_dice(self.truth, self.heatmap)


@dataclass(frozen=True)
class Example:
    """One line of the panel."""

    indicator: str
    image_id: str
    image: NDArray[np.uint8]
    """RGB, shape (H, W, 3)."""
    maps: list[ExplainedMap]
    """At least one."""


def explain_examples(
    runs: Sequence[Path],
    data_root: Path,
    source: str | None = None,
    images_per_indicator: int = 1,
    seed: int = 0,
    lime_samples: int = Options.lime_samples,
    report: Reporter | None = None,
) -> list[Example]:
    """Explain a seeded draw of images that no run has trained on.

    Args:
        runs: Run folders; their order is that of the maps.
        data_root: Folder that the data paths of the runs' configurations are relative to.
        source: Data source; None where the first run's configuration has one alone.
        images_per_indicator: Fewer where fewer have a filled mask.
        seed: Draws the images, and LIME's perturbed copies.
        lime_samples: Perturbed copies of an image that LIME asks about.
        report: Told about each example of each run.

    Returns:
        Examples in the paper's order of indicators; an indicator that no held-out image has is left out.

    Raises:
        InputError: If there is no run, or no image that all of them hold out with a filled mask.
        CheckpointError: If a run is not finished.
    """
    if not runs:
        raise InputError("a panel shows the maps of at least one run; name a run folder")
    configs = [_read_config(run) for run in runs]
    records = _common_held_out(configs, data_root, choose_source(configs[0], source))
    images = ImageSet(records, configs[0].model.image_size_px, cache=False)
    drawn = _draw(images, images_per_indicator, seed)
    progress = report or Silence()
    progress.begin("explain", len(drawn) * len(runs))
    infos: list[ModelInfo] = []
    lines: list[list[ExplainedMap]] = [[] for _ in drawn]
    for run in runs:  # one model in memory at a time
        model, info = load_model(run)
        infos.append(info)
        methods = choose_methods(_method_names(info), lime_samples, seed)
        for line, (indicator, index) in zip(lines, drawn, strict=True):
            line += _explain(model, methods, records[index], indicator, len(infos) - 1)
            progress.advance()
    labels = _model_labels(infos)
    return [
        Example(
            indicator,
            records[index].image_id,
            images.image(index),
            [replace(shown, title=f"{shown.title}\n{labels[shown.run]}") for shown in line],
        )
        for line, (indicator, index) in zip(lines, drawn, strict=True)
    ]


def _read_config(run: Path) -> TrainConfig:
    path = run / "config.toml"
    if not path.is_file():
        raise InputError(f"expected a run folder with config.toml at {run}, found none; train one first")
    return load_config(path)


def _common_held_out(configs: Sequence[TrainConfig], data_root: Path, source: str) -> list[Record]:
    """Images that every run holds out: a run must not be shown on what it has learnt."""
    sides = [held_out(config, data_root, SIDE, source) for config in configs]
    common = set.intersection(*({record.image_id for record in side} for side in sides))
    if not common:
        raise InputError(
            f"the runs hold out no image of {source} in common; give runs with the same split_seed "
            "and fractions"
        )
    return [record for record in sides[0] if record.image_id in common]


def _draw(images: ImageSet, count: int, seed: int) -> list[tuple[str, int]]:
    """Indicators in the paper's order with images of each whose mask is filled at the input size.

    Images that no line shows yet come first.
    """
    drawn: list[tuple[str, int]] = []
    for position, indicator in enumerate(paper.COLUMNS):
        shown = {index for _, index in drawn}
        order = np.random.default_rng((seed, position)).permutation(images.with_filled_mask(indicator))
        fresh_first = sorted(map(int, order), key=shown.__contains__)
        filled = (index for index in fresh_first if images.masks([index], indicator).any())
        drawn += [(indicator, index) for index in islice(filled, count)]
    if not drawn:
        raise InputError(
            f"none of the {len(images)} images that all runs hold out has a filled mask; "
            "name another --source"
        )
    return drawn


def _explain(
    model: BioUNet, methods: Mapping[MethodName, Method], record: Record, indicator: str, run: int
) -> Iterator[ExplainedMap]:
    """The maps of one model at its own input size."""
    images = ImageSet([record], model.config.image_size_px, cache=False)
    truth = images.masks([0], indicator).numpy()[0] > 0
    for name, method in methods.items():
        heatmap = method(model.network(indicator), images.images([0]), indicator)[0]
        yield ExplainedMap(METHOD_LABELS[name], heatmap, truth, run)


def _method_names(info: ModelInfo) -> tuple[MethodName, ...]:
    if info.row == "f_res":
        return BASELINES
    return ("grad_cam", "decoder") if info.segmentation else ("grad_cam",)


def _model_labels(infos: Sequence[ModelInfo]) -> list[str]:
    """The row's label, or the model's name; the seed where a label stands twice."""
    rows = [ROWS.get(info.row or "") for info in infos]
    labels = [row.label if row else info.name for row, info in zip(rows, infos, strict=True)]
    return [
        f"{label}, seed {info.seed}" if labels.count(label) > 1 else label
        for label, info in zip(labels, infos, strict=True)
    ]
