"""The end of a run: fusion head, calibration, operating points, and the finished checkpoint."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.evaluation.decisions import threshold_at_predictive_value, threshold_at_sensitivity
from biounet_edge.evaluation.masks import continuous_dice, dice
from biounet_edge.evaluation.probabilities import auc
from biounet_edge.indicators import INDICATORS
from train.calibration import Calibration, fit_calibration, fold_calibrations
from train.checkpoint import ModelInfo, save_model, versions
from train.data.dataset import MEAN, STD
from train.familiarity import choose_threshold, weights_of_sources
from train.fusion import extract_features, fit_fusion
from train.network import BioUNet
from train.run import Run
from train.tasks import MELANOMA, TASKS
from train.validation import segment_all

MASK_THRESHOLDS = tuple(np.arange(1, 20) / 20)
"""Candidates for the operating point of a mask."""

SENSITIVITY = 0.9
"""Melanomas that the operating point calls, on validation images of all sources together."""

PREDICTIVE_VALUE = 0.5
"""'Present' is more often right than wrong: smallest lower end of its predictive value's interval."""


def finish_model(run: Run, model: BioUNet, config_name: str) -> None:
    """Train the fusion head, calibrate, choose operating points, write model.safetensors and model.json.

    Regularisation, calibration and operating points are chosen on validation images alone.
    """
    model.requires_grad_(False).eval()
    figures, melanoma_threshold, features, familiarity_threshold = _fit_diagnosis(run, model)
    calibrations, presence = _calibrate_presence(run, model, features, figures)
    points = {}
    for indicator in INDICATORS:
        mask = _choose_mask_threshold(run, model, indicator, figures)
        points[indicator] = OperatingPoint(presence=presence[indicator], mask=mask)
    info = ModelInfo(
        name=run.config.model.name,
        row=run.config.row,
        network=run.network_config,
        segmentation=run.config.segments,
        mean=MEAN,
        std=STD,
        presence_temperatures={name: of.temperature for name, of in calibrations.items()},
        presence_shifts={name: of.shift for name, of in calibrations.items()},
        melanoma_threshold=melanoma_threshold,
        operating_points=points,
        familiarity_threshold=familiarity_threshold,
        data=_describe_data(run),
        licence=run.config.licence,
        notice=run.config.notice,
        seed=run.config.seed,
        config=config_name,
        figures={name: value for name, value in figures.items() if np.isfinite(value)},
        epochs=run.epochs,
        versions=versions(),
    )
    save_model(run.folder, model.cpu(), info)
    run.log("finished", epochs=run.epochs, **info.figures)


def _fit_diagnosis(
    run: Run, model: BioUNet
) -> tuple[dict[str, float], float, NDArray[np.float32], float | None]:
    """Train the fusion head and calibrate it, and fit the score of familiarity.

    Returns:
        Figures, melanoma's operating point, features (N, G, D) of the validation images that count, and the
        threshold of familiarity.
    """
    melanoma = TASKS.index(MELANOMA)
    training = fusion_images(run)
    validation = counted_images(run)
    run.report.begin("fusion", len(training) + len(validation))
    with run.engine.autocast():
        features = extract_features(model, run.training, training, run.report.advance)
    features_validation = extract_features(model, run.validation, validation, run.report.advance)
    truth = run.validation.labels[validation, melanoma].numpy()
    figures = fit_fusion(
        model,
        (features, run.training.labels[training, melanoma].numpy()),
        (features_validation, truth),
        run.config.fusion_regularisation,
    )
    head, inputs = model.fusion_head, torch.from_numpy(features_validation).to(model.fusion_head.weight)
    logit = (head(inputs)[1].sum(1) + head.bias).cpu().numpy()
    calibration = fit_calibration(truth, logit)
    head.temperature.fill_(calibration.temperature)
    head.bias.sub_(calibration.shift)
    threshold = threshold_at_sensitivity(truth, head(inputs)[0].cpu().numpy(), SENSITIVITY)
    if model.familiarity is None:
        return figures, threshold, features_validation, None
    sources = [run.training.records[index].source for index in training]
    model.familiarity.fit(features, weights_of_sources(sources))
    familiar = choose_threshold(model.familiarity(inputs).cpu().numpy())
    return figures, threshold, features_validation, familiar


def fusion_images(run: Run) -> list[int]:
    """Training images with a diagnosis; as many as the configuration wants, drawn without replacement."""
    known = run.training.indices_where(lambda r: r.melanoma is not None)
    wanted = run.config.fusion_images
    if wanted is None or wanted >= len(known):
        return known
    return run.batches.sample(known, wanted, "fusion")


def counted_images(run: Run) -> list[int]:
    """Validation images whose labels count."""
    return run.validation.indices_where(lambda r: r.source in run.validating_sources)


def _calibrate_presence(
    run: Run, model: BioUNet, features: NDArray[np.float32], figures: dict[str, float]
) -> tuple[dict[str, Calibration], dict[str, float | None]]:
    """Calibrate the classification heads; each indicator's calibration and operating point."""
    labels = run.validation.labels[counted_images(run)].numpy()
    calibrations: dict[str, Calibration] = {}
    presence: dict[str, float | None] = {}
    for index, network in enumerate(model.all_networks()):
        inputs = torch.from_numpy(features[:, index]).to(network.classification_head.weight)
        logits = network.classification_head(inputs).cpu().numpy()
        own = {}
        for indicator in network.config.localised(index):
            truth = labels[:, TASKS.index(indicator)]
            logit = logits[:, network.tasks.index(indicator)]
            of = own[indicator] = fit_calibration(truth, logit)
            figures[f"auc_{indicator}"] = auc(truth, logit)
            probability = expit((logit - of.shift) / of.temperature)
            presence[indicator] = threshold_at_predictive_value(truth, probability, PREDICTIVE_VALUE)
        fold_calibrations(network, own)
        calibrations |= own
    return calibrations, presence


def _choose_mask_threshold(run: Run, model: BioUNet, indicator: str, figures: dict[str, float]) -> float:
    if not run.config.segments:
        return 0.5
    chosen = run.validation.with_filled_mask(indicator)
    overlap = np.zeros((len(chosen), len(MASK_THRESHOLDS)))
    continuous = np.zeros(len(chosen))
    pairs = segment_all(model.network(indicator), run.validation, chosen, indicator)
    for row, (truth, probability) in enumerate(pairs):
        continuous[row] = continuous_dice(truth, probability)
        overlap[row] = [dice(truth, probability >= threshold) for threshold in MASK_THRESHOLDS]
    if not chosen:
        return 0.5
    figures[f"cdc_{indicator}"] = float(continuous.mean())
    return float(MASK_THRESHOLDS[int(overlap.mean(0).argmax())])


def _describe_data(run: Run) -> list[str]:
    lines = []
    for source in run.config.data.annotated:
        counts = {side: sum(r.source == source.name for r in records) for side, records in run.split.items()}
        lines.append(f"{source.name}: " + ", ".join(f"{count} {side}" for side, count in counts.items()))
    names = ", ".join(source.name for source in run.config.data.unlabelled)
    if names:
        lines.append(f"contrastive learning: {names} ({len(run.batches.unlabelled)} images)")
    return lines
