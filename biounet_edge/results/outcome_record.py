"""Outcomes that are read back from what `to_dict` wrote: every number, no arrays."""

from typing import Any

from biounet_edge.errors import Category
from biounet_edge.indicators import INDICATORS
from biounet_edge.prediction import IndicatorFinding, Outcome, Prediction, PredictionFailure


def outcome_from_dict(record: dict[str, Any]) -> Outcome:
    """Make an outcome from its record.

    Args:
        record: What `Prediction.to_dict` or `PredictionFailure.to_dict` returned, possibly through JSON, and
            possibly of an earlier version, which had neither categories nor familiarity nor notes.

    Returns:
        An outcome whose `to_dict` is equal to the record, but for what an earlier version did not have; its
        heatmaps, masks and preview are None.

    Raises:
        KeyError: If something is missing or has another name.
        TypeError: If something is of another type.
        ValueError: If something is not a number.
    """
    score = record.get("familiarity")
    familiarity = None if score is None else float(score)
    if "error" in record:
        error, sha256 = str(record["error"]), record["sha256"]
        category = Category(record.get("category") or ("retry" if sha256 is None else "refused"))
        return PredictionFailure(str(record["image"]), error, sha256, category, familiarity)
    if tuple(record["indicators"]) != INDICATORS:
        raise KeyError("indicators")
    size = (int(record["height"]), int(record["width"]))
    return Prediction(
        source=str(record["image"]),
        size=size,
        level=record["level"],
        melanoma_probability=float(record["melanoma_probability"]),
        melanoma=bool(record["melanoma"]),
        melanoma_bias=float(record["melanoma_bias"]),
        melanoma_temperature=float(record["melanoma_temperature"]),
        indicators={name: _finding(finding, size) for name, finding in record["indicators"].items()},
        sha256=record["sha256"],
        familiarity=familiarity,
        unfamiliar=record["status"] == "unfamiliar",
        notes=tuple(map(str, record.get("notes", ()))),
    )


def _finding(record: dict[str, Any], size: tuple[int, int]) -> IndicatorFinding:
    area_pct, heatmap_scale, present = record["area_pct"], record["heatmap_scale"], record["present"]
    return IndicatorFinding(
        probability=float(record["probability"]),
        present=None if present is None else bool(present),
        contribution=float(record["contribution"]),
        area_pct=None if area_pct is None else float(area_pct),
        heatmap_scale=None if heatmap_scale is None else float(heatmap_scale),
        source_size=size,
        model_heatmap=None,
        model_mask_probability=None,
        mask_threshold=1.0,  # of a mask that is not here
    )
