"""An evaluation as a Markdown page for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from biounet_edge.indicators import indicator_label
from train.evaluation.challenge import MEAN, MICRO_AVERAGE
from train.evaluation.report import Diagnosis, Evaluation, Figure, Localisation, MethodName, Presence

METHOD_LABELS: Final[dict[MethodName, str]] = {
    "grad_cam": "Grad-CAM of the last block",
    "decoder": "U-Net decoder",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "lime": "LIME",
}

DIAGNOSIS_LABELS: Final = {
    "accuracy": "accuracy at the operating point",
    "balanced_accuracy": "balanced accuracy at the operating point",
    "auc": "AUC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity at the operating point",
    "specificity": "specificity at the operating point",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "calibration_error": "expected calibration error",
}

LOCALISATION_LABELS: Final = {
    "cdc_filled": "cDC, filled",
    "cdc_all": "cDC, all known",
    "dice": "Dice",
    "jaccard": "Jaccard",
}

NOT_MEASURED: Final = "not measured"

READING: Final = """\
cDC is the continuous Dice coefficient of the map as it is: its mean over filled true masks, and over all
known masks, where the map of an indicator that is not reported as present is empty and two empty masks
score 1. Dice and Jaccard are means over filled true masks of the map cut at its operating point.
Pooled Jaccard is that of ISIC 2018 Task 2: over the pixels of all images with a known mask, the map of an
indicator that is not reported as present being empty."""


def format_page(evaluation: Evaluation) -> str:
    """The whole page: each figure with its interval and the images behind it."""
    sections = [*_introduction(evaluation), *_diagnosis(evaluation.diagnosis)]
    sections += _presence(evaluation.presence)
    sections += ["## Localisation", READING]
    for method, by_indicator in evaluation.localisation.items():
        sections.append(f"### {METHOD_LABELS[method]}")
        sections += _localisation(by_indicator, evaluation.pooled_jaccard.get(method, {}))
    return "\n\n".join(sections) + "\n"


def _introduction(evaluation: Evaluation) -> Iterator[str]:
    model, data = evaluation.model, evaluation.data
    size = f"{model.image_size_px} x {model.image_size_px} pixels"
    lines = [
        f"Model: {model.config}, seed {model.seed}, base width {model.base_width}, {size}, "
        f"encoders {', '.join(' + '.join(tasks) for tasks in model.encoders)}.",
        f"Trained on {'; '.join(model.training)}.",
        f"Judged on {data.images} images. Masks are compared at {size}: the true masks are reduced to it.",
        *_settings(evaluation),
    ]
    yield f"# {model.name} on {data.source}, {data.side} side"
    yield "\n".join(f"- {line}" for line in lines)
    yield _table(
        ["indicator", "images with it", "images without it"],
        ([indicator_label(name), count.present, count.absent] for name, count in data.counts.items()),
    )


def _settings(evaluation: Evaluation) -> Iterator[str]:
    settings = evaluation.settings
    if settings is None:
        return
    if settings.sampled_from:
        yield f"**A quick look: the images are a random sample of {settings.sampled_from}.**"
    yield (
        f"In brackets: 95 % percentile bootstrap over images, {settings.resamples} resamples, "
        f"seed {settings.seed}. Over a handful of images it is too narrow; over one it has no width. Of "
        "sensitivity, specificity and predictive value it is Wilson's."
    )
    yield (
        f"Binary masks: heatmaps are cut at {settings.heatmap_threshold}, the decoder's masks at the model's "
        "operating points."
    )
    if settings.lime_samples:
        yield f"LIME asks about {settings.lime_samples} perturbed copies of each image."


def _diagnosis(diagnosis: Diagnosis | None) -> Iterator[str]:
    yield "## Diagnosis"
    if diagnosis is None:
        yield f"{NOT_MEASURED.capitalize()}: no image has a known diagnosis."
        return
    yield f"{diagnosis.images} images with a known diagnosis, {diagnosis.melanomas} of them melanomas."
    figures = dict(diagnosis.figures)
    rows = ([label, _show(figures[key])] for key, label in DIAGNOSIS_LABELS.items())
    yield _table(["figure", "value"], rows)


def _presence(presence: Mapping[str, Presence]) -> Iterator[str]:
    yield "## Presence of indicators"
    if not presence:
        yield f"{NOT_MEASURED.capitalize()}: no image has a label."
        return
    rows = (
        [indicator_label(name), _show(p.auc), _show(p.predictive_value), p.images, p.positives]
        for name, p in presence.items()
    )
    yield _table(["indicator", "AUC", "predictive value of 'present'", "images", "images with it"], rows)


def _localisation(by_indicator: Mapping[str, Localisation], pooled: Mapping[str, float]) -> Iterator[str]:
    if not by_indicator:
        yield f"{NOT_MEASURED.capitalize()}: no image has a mask."
        return
    header = [
        "indicator",
        *LOCALISATION_LABELS.values(),
        "pooled Jaccard",
        "cDC of a mask of everything",
        "filled masks",
        "known masks",
    ]
    rows: list[list[object]] = []
    for name, of in by_indicator.items():
        figures = dict(of)
        means = [_show(figures[key]) for key in LOCALISATION_LABELS]
        everything = NOT_MEASURED if of.cdc_everything is None else f"{of.cdc_everything:.3f}"
        rows.append(
            [indicator_label(name), *means, f"{pooled[name]:.3f}", everything, of.images_filled, of.images]
        )
    yield _table(header, rows)
    yield (
        f"Pooled Jaccard: mean of the indicators {pooled[MEAN]:.3f}, "
        f"all indicators together {pooled[MICRO_AVERAGE]:.3f}."
    )
    filled = {name: of.cdc_filled_at for name, of in by_indicator.items() if of.cdc_filled_at}
    if filled:
        cuts = list(next(iter(filled.values())))
        yield "cDC over filled masks, the values of the map below a threshold set to 0:"
        yield _table(
            ["indicator", *cuts],
            ([indicator_label(name), *(f"{at[cut]:.3f}" for cut in cuts)] for name, at in filled.items()),
        )


def _show(figure: Figure | None) -> str:
    return NOT_MEASURED if figure is None else f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _table(header: list[str], rows: Iterable[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
