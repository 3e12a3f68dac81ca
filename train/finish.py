"""The end of a run: fusion head, calibration, operating points, and the finished checkpoint."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from biounet_edge.indicators import INDICATORS
from biounet_edge.manifest import OperatingPoint
from train.calibration import fit_temperature, fold_temperatures
from train.checkpoint import ModelInfo, save_model, versions
from train.config import TASKS
from train.data.dataset import MEAN, STD
from train.fusion import extract_features, fit_fusion
from train.metrics import auc, continuous_dice, youden_threshold
from train.network import MELANOMA, BioUNet
from train.run import Run
from train.validation import segment_all

MASK_THRESHOLDS = tuple(np.arange(1, 20) / 20)
"""Candidates for the operating point of a mask."""


def finish_model(run: Run, model: BioUNet, config_name: str) -> None:
    """Train the fusion head, calibrate, choose operating points, write model.safetensors and model.json.

    Regularisation, temperatures and operating points are chosen on validation images alone.
    """
    model.requires_grad_(False).eval()
    figures, melanoma_threshold, features = _fit_diagnosis(run, model)
    temperatures, presence = _calibrate_presence(run, model, features, figures)
    points = {}
    for indicator in INDICATORS:
        mask = _choose_mask_threshold(run, model, indicator, figures)
        points[indicator] = OperatingPoint(presence=presence[indicator], mask=mask)
    info = ModelInfo(
        name=run.config.model.name,
        row=run.config.row,
        network=run.network_config,
        segmentation=run.config.indicator.segmentation_batch > 0,
        mean=MEAN,
        std=STD,
        presence_temperatures=temperatures,
        melanoma_threshold=melanoma_threshold,
        operating_points=points,
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


def _fit_diagnosis(run: Run, model: BioUNet) -> tuple[dict[str, float], float, NDArray[np.float32]]:
    """Train the fusion head and its temperature; figures, the operating point, features (N, G, D)."""
    melanoma = TASKS.index(MELANOMA)
    training = run.training.indices_where(lambda r: r.melanoma is not None)
    validation = _counted(run)
    run.report.begin("fusion", len(training) + len(validation))
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
    head.temperature.fill_(fit_temperature(truth, logit))
    threshold = youden_threshold(truth, head(inputs)[0].cpu().numpy())
    return figures, threshold, features_validation


def _counted(run: Run) -> list[int]:
    """Validation images whose labels count."""
    return run.validation.indices_where(lambda r: r.source in run.validating_sources)


def _calibrate_presence(
    run: Run, model: BioUNet, features: NDArray[np.float32], figures: dict[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fold temperatures into the classification heads; each indicator's temperature and operating point."""
    labels = run.validation.labels[_counted(run)].numpy()
    temperatures: dict[str, float] = {}
    presence: dict[str, float] = {}
    for index, network in enumerate(model.all_networks()):
        inputs = torch.from_numpy(features[:, index]).to(network.classification_head.weight)
        logits = network.classification_head(inputs).cpu().numpy()
        own = {}
        for indicator in network.config.localised(index):
            truth = labels[:, TASKS.index(indicator)]
            logit = logits[:, network.tasks.index(indicator)]
            own[indicator] = fit_temperature(truth, logit)
            figures[f"auc_{indicator}"] = auc(truth, logit)
            presence[indicator] = youden_threshold(truth, expit(logit / own[indicator]))
        fold_temperatures(network, own)
        temperatures |= own
    return temperatures, presence


def _choose_mask_threshold(run: Run, model: BioUNet, indicator: str, figures: dict[str, float]) -> float:
    if not run.config.indicator.segmentation_batch:
        return 0.5
    chosen = run.validation.with_filled_mask(indicator)
    dice = np.zeros((len(chosen), len(MASK_THRESHOLDS)))
    continuous = np.zeros(len(chosen))
    pairs = segment_all(model.network(indicator), run.validation, chosen, indicator)
    for row, (truth, probability) in enumerate(pairs):
        continuous[row] = continuous_dice(truth, probability)
        dice[row] = [_dice(truth, probability >= threshold) for threshold in MASK_THRESHOLDS]
    if not chosen:
        return 0.5
    figures[f"cdc_{indicator}"] = float(continuous.mean())
    return float(MASK_THRESHOLDS[int(dice.mean(0).argmax())])


def _dice(truth: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    total = int(truth.sum()) + int(mask.sum())
    return 2 * int((truth & mask).sum()) / total if total else 1.0


def _describe_data(run: Run) -> list[str]:
    lines = []
    for source in run.config.data.annotated:
        counts = {side: sum(r.source == source.name for r in records) for side, records in run.split.items()}
        lines.append(f"{source.name}: " + ", ".join(f"{count} {side}" for side, count in counts.items()))
    names = ", ".join(source.name for source in run.config.data.unlabelled)
    if names:
        lines.append(f"contrastive learning: {names} ({len(run.batches.unlabelled)} images)")
    return lines
