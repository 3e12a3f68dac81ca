"""Judges a model on labelled images, in one pass over them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import InputError
from biounet_edge.evaluation.bootstrap import RESAMPLES
from biounet_edge.indicators import INDICATORS
from train.checkpoint import ModelInfo
from train.data.dataset import ImageSet
from train.data.records import Record
from train.data.splits import Side
from train.evaluation.challenge import pooled_jaccard
from train.evaluation.diagnosis import judge_diagnosis, judge_presence
from train.evaluation.localisation import HEATMAP_THRESHOLD, MapScore, score_map, summarise
from train.evaluation.methods import Method, choose_methods
from train.evaluation.probabilities import Probabilities, predict
from train.evaluation.report import (
    DataSection,
    Evaluation,
    IndicatorCount,
    MethodName,
    ModelSection,
    Presence,
    Settings,
)
from train.network import BioUNet
from train.run import Reporter
from train.tasks import MELANOMA, TASKS

BATCH: Final = 8
"""Images judged at once; Grad-CAM at full width and 512 pixels keeps about half a gigabyte for each."""

Scores = dict[MethodName, dict[str, list[MapScore]]]
"""By method, then by indicator."""


@dataclass(frozen=True)
class Options:
    """How to evaluate."""

    methods: tuple[MethodName, ...] | None = None
    """None for grad_cam, and decoder where f_Seg was trained."""
    images: int | None = None
    """Judge a seeded sample of this many images; None for all."""
    lime_samples: int = 200
    """Perturbed copies of an image that LIME asks about."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of an interval."""
    seed: int = 0
    """Of the bootstrap, of LIME and of the sample of images."""


def judge(
    model: BioUNet,
    info: ModelInfo,
    records: Sequence[Record],
    side: Side,
    options: Options,
    report: Reporter,
) -> Evaluation:
    """Judge a model; of the maps, only their figures are kept.

    Masks are compared at the input size of the network: the truth is reduced to it.

    Args:
        model: In evaluation mode, on any device.
        info: Its operating points.
        records: At least one image, all of one source.
        side: Where they stand in the model's split.
        options: Methods, sample, bootstrap.
        report: Told about each batch of images.

    Raises:
        InputError: If the decoder is asked for and was not trained.
    """
    methods = choose_methods(_method_names(info, options), options.lime_samples, options.seed)
    sample = draw_sample(records, options.images, options.seed)
    images = ImageSet(sample, info.network.image_size_px, cache=False)
    report.begin(f"evaluate {info.name} on {sample[0].source} {side}", len(sample))
    probabilities, scores = _judge_images(model, info, images, methods, report.advance)
    report.message(f"bootstrap with {options.resamples} resamples")
    labels = images.labels.double().numpy()
    melanoma = labels[:, TASKS.index(MELANOMA)]
    draws = (options.seed, options.resamples)
    return Evaluation(
        model=_describe_model(info),
        data=DataSection(source=sample[0].source, side=side, images=len(sample), counts=_count(labels)),
        settings=Settings(
            resamples=options.resamples,
            seed=options.seed,
            sampled_from=len(records) if len(sample) < len(records) else None,
            lime_samples=options.lime_samples if "lime" in methods else None,
            heatmap_threshold=HEATMAP_THRESHOLD,
        ),
        diagnosis=judge_diagnosis(melanoma, probabilities.melanoma, info.melanoma_threshold, *draws),
        presence=_judge_presence(labels, probabilities, info, draws),
        localisation={
            method: {indicator: summarise(of, *draws) for indicator, of in by_indicator.items()}
            for method, by_indicator in scores.items()
        },
        pooled_jaccard={method: _pool(of) for method, of in scores.items() if of},
    )


def draw_sample(records: Sequence[Record], count: int | None, seed: int) -> list[Record]:
    """A seeded sample without replacement in the order of the records; all of them where they are no more."""
    if count is None or count >= len(records):
        return list(records)
    drawn = np.random.default_rng(seed).choice(len(records), count, replace=False)
    return [records[index] for index in sorted(drawn)]


def _method_names(info: ModelInfo, options: Options) -> tuple[MethodName, ...]:
    if options.methods is None:
        return ("grad_cam", "decoder") if info.segmentation else ("grad_cam",)
    if "decoder" in options.methods and not info.segmentation:
        raise InputError(f"{info.name} was trained without f_Seg, it has no decoder; leave that method out")
    return options.methods


def _judge_images(
    model: BioUNet,
    info: ModelInfo,
    images: ImageSet,
    methods: Mapping[MethodName, Method],
    advance: Callable[[int], None],
) -> tuple[Probabilities, Scores]:
    """Probabilities of all images, and the scores of all maps of images with a known mask."""
    parts = []
    scores: Scores = {method: {} for method in methods}
    for start in range(0, len(images), BATCH):
        batch = list(range(start, min(start + BATCH, len(images))))
        pixels = images.images(batch)
        parts.append(predict(model, pixels))
        for column, indicator in enumerate(INDICATORS):
            known = [position for position, i in enumerate(batch) if indicator in images.records[i].masks]
            if not known:
                continue
            point = info.operating_points[indicator]
            truths = images.masks([batch[position] for position in known], indicator).numpy() > 0
            threshold = np.inf if point.presence is None else point.presence
            present = parts[-1].indicators[known, column] >= threshold
            for method, localise in methods.items():
                cut = point.mask if method == "decoder" else HEATMAP_THRESHOLD
                maps = localise(model.network(indicator), pixels[known], indicator)
                scores[method].setdefault(indicator, []).extend(
                    score_map(truth, heatmap, bool(there), cut)
                    for truth, heatmap, there in zip(truths, maps, present, strict=True)
                )
        advance(len(batch))
    return Probabilities.join(parts), scores


def _judge_presence(
    labels: NDArray[np.float64], probabilities: Probabilities, info: ModelInfo, draws: tuple[int, int]
) -> dict[str, Presence]:
    judged = {
        indicator: judge_presence(
            labels[:, TASKS.index(indicator)],
            probabilities.indicators[:, column],
            info.operating_points[indicator].presence,
            *draws,
        )
        for column, indicator in enumerate(INDICATORS)
    }
    return {indicator: presence for indicator, presence in judged.items() if presence is not None}


def _pool(by_indicator: Mapping[str, Sequence[MapScore]]) -> dict[str, float]:
    return pooled_jaccard(
        {indicator: [score.pixels_reported for score in of] for indicator, of in by_indicator.items()}
    )


def _count(labels: NDArray[np.float64]) -> dict[str, IndicatorCount]:
    columns = {indicator: labels[:, TASKS.index(indicator)] for indicator in INDICATORS}
    return {
        indicator: IndicatorCount(present=int((column == 1).sum()), absent=int((column == 0).sum()))
        for indicator, column in columns.items()
    }


def _describe_model(info: ModelInfo) -> ModelSection:
    return ModelSection(
        name=info.name,
        row=info.row,
        seed=info.seed,
        config=info.config,
        base_width=info.network.base_width,
        image_size_px=info.network.image_size_px,
        encoders=info.network.encoders,
        training=tuple(info.data),
    )
