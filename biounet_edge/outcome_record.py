"""Outcomes that are read back from what `to_dict` wrote: every number, no arrays."""

from typing import Any

from biounet_edge.prediction import IndicatorFinding, Prediction, PredictionFailure

Outcome = Prediction | PredictionFailure
"""What comes of an image."""


def outcome_from_dict(record: dict[str, Any]) -> Outcome:
    """Makes an outcome of its record.

    Args:
        record: What `Prediction.to_dict` or `PredictionFailure.to_dict` returned, maybe by way of JSON.

    Returns:
        An outcome whose `to_dict` is equal to the record; its heatmaps, masks and preview are None.

    Raises:
        KeyError: If something is missing.
        TypeError: If something is of another kind.
    """
    if record["status"] == "error":
        return PredictionFailure(record["image"], record["error"], record["sha256"])
    size = (record["height"], record["width"])
    return Prediction(
        source=record["image"],
        size=size,
        level=record["level"],
        melanoma_probability=record["melanoma_probability"],
        melanoma=record["melanoma"],
        melanoma_bias=record["melanoma_bias"],
        melanoma_temperature=record["melanoma_temperature"],
        indicators={
            name: IndicatorFinding(
                **finding,
                source_size=size,
                model_heatmap=None,
                model_mask_probability=None,
                mask_threshold=1.0,  # of a mask that is not here
            )
            for name, finding in record["indicators"].items()
        },
        sha256=record["sha256"],
    )
