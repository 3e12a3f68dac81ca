"""The end of a run: fusion head, operating points, and the finished checkpoint."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biounet_edge.indicators import INDICATORS
from biounet_edge.manifest import OperatingPoint
from train.algorithm import segment_all
from train.checkpoint import ModelInfo, save_model, versions
from train.config import TASKS
from train.data.dataset import MEAN, STD
from train.fusion import extract_features, fit_fusion
from train.metrics import auc, continuous_dice, youden_threshold
from train.network import MELANOMA, BioUNet
from train.run import Run

MASK_THRESHOLDS = tuple(np.arange(1, 20) / 20)
"""Candidates for the operating point of a mask."""


def finish_model(run: Run, model: BioUNet, config_name: str) -> Path:
    """Train the fusion head, choose operating points on validation images, write the checkpoint.

    Returns:
        Path of model.safetensors.
    """
    model.requires_grad_(False).eval()
    counted = run.validating_sources
    figures, melanoma_threshold, presence = _diagnose(run, model, counted)
    points = {}
    for index, indicator in enumerate(INDICATORS):
        chosen = run.validation.with_filled_mask(indicator)
        truths, masks = segment_all(model.network(indicator), run.validation, chosen, indicator)
        if chosen:
            figures[f"cdc_{indicator}"] = float(
                np.mean([continuous_dice(t, m) for t, m in zip(truths, masks, strict=True)])
            )
        points[indicator] = OperatingPoint(presence=presence[index], mask=best_mask_threshold(truths, masks))
    info = ModelInfo(
        name=run.config.model.name,
        network=run.network_config,
        mean=MEAN,
        std=STD,
        melanoma_threshold=melanoma_threshold,
        operating_points=points,
        data=_describe_data(run),
        licence=run.config.licence,
        notice=run.config.notice,
        seed=run.config.seed,
        config=config_name,
        figures=figures,
        epochs=run.epochs,
        versions=versions(),
    )
    save_model(run.folder, model, info)
    run.log(stage="finished", epochs=run.epochs, **figures)
    return run.folder / "model.safetensors"


def _diagnose(
    run: Run, model: BioUNet, counted: frozenset[str]
) -> tuple[dict[str, float], float, list[float]]:
    """Train the fusion head; figures, the melanoma operating point, each indicator's presence point."""
    training = run.training.indices_where(lambda r: r.melanoma is not None)
    validation = run.validation.indices_where(lambda r: r.source in counted)
    run.report.begin("fusion", len(training) + len(validation))
    features = extract_features(model, run.training, training, run.report.advance)
    features_validation = extract_features(model, run.validation, validation, run.report.advance)
    melanoma = TASKS.index(MELANOMA)
    labels = run.validation.labels[validation].numpy()
    figures = fit_fusion(
        model,
        (features, run.training.labels[training, melanoma].numpy()),
        (features_validation, labels[:, melanoma]),
        run.config.fusion_regularisation,
    )
    with torch.no_grad():
        probability = model.fusion_head(torch.from_numpy(features_validation))[0].numpy()
    threshold = youden_threshold(labels[:, melanoma], probability)
    presence = []
    for index, indicator in enumerate(INDICATORS):
        scores = presence_probability(model, features_validation, index)
        figures[f"auc_{indicator}"] = auc(labels[:, index], scores)
        presence.append(youden_threshold(labels[:, index], scores))
    return {name: value for name, value in figures.items() if np.isfinite(value)}, threshold, presence


def presence_probability(model: BioUNet, features: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Probability, shape (N), of indicator number `index` from the features (N, J, D)."""
    head = model.network(INDICATORS[index]).classification_head
    with torch.no_grad():
        return torch.sigmoid(head(torch.from_numpy(features[:, index]))[:, 0]).numpy()


def best_mask_threshold(truths: list[NDArray[np.bool_]], probabilities: list[NDArray[np.float32]]) -> float:
    """The threshold with the best mean Dice over masks (H, W); 0.5 where there is no mask to choose by."""
    if not truths:
        return 0.5
    dice = [
        np.mean(
            [
                _dice(truth, probability >= threshold)
                for truth, probability in zip(truths, probabilities, strict=True)
            ]
        )
        for threshold in MASK_THRESHOLDS
    ]
    return float(MASK_THRESHOLDS[int(np.argmax(dice))])


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
