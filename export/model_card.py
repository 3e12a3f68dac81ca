"""MODEL_CARD.md: what a person must know before using a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from biounet_edge.indicators import INDICATORS
from export.parity import CANCELLATION, LARGEST_SWITCH, ParityRow
from export.precision import Judgement
from train.checkpoint import ModelInfo
from train.encoders import FAMILIES, Family

CARD_NAME = "MODEL_CARD.md"

_FAMILIES: Mapping[Family, str] = {"resnet50": "ResNet-50", "efficientnet_lite0": "EfficientNet-Lite0"}
"""What each family is called."""

NOTES_MARK = "<!-- notes -->"
"""Stands in front of the notes, so that they are found again when the bundle is exported once more."""


def read_card_notes(bundle: Path) -> str | None:
    """Find what the export was given to end the model card with.

    Args:
        bundle: Folder of the bundle.

    Returns:
        The notes as Markdown, or None.
    """
    path = bundle / CARD_NAME
    _, mark, notes = (
        path.read_text(encoding="utf-8").partition(NOTES_MARK) if path.is_file() else ("", "", "")
    )
    return notes.strip() if mark else None


def write_model_card(
    info: ModelInfo,
    name: str,
    version: str,
    images: int,
    parity: Sequence[ParityRow],
    judgements: Sequence[Judgement],
    notes: str | None,
) -> str:
    """Write the model card.

    Args:
        info: What the checkpoint says about the model.
        name: Name of the bundle.
        version: Version of the bundle.
        images: Number of golden images.
        parity: Comparison with PyTorch on the golden images.
        judgements: Each precision against PyTorch on photographs; empty where none were named.
        notes: Measured results as Markdown, appended as they are; None for none.

    Returns:
        The card as Markdown.
    """
    sections = [
        f"# {name} {version}",
        *([f"**{info.notice}**"] if info.notice else []),
        _summary(info),
        "## Training data",
        "\n".join(f"- {line}" for line in info.data),
        f"The weights may be used under this licence: {info.licence}.",
        _training(info),
        "## Validation figures",
        _figures(info),
        "## Operating points",
        _operating_points(info),
        "## Agreement with PyTorch",
        f"The graphs were run with ONNX Runtime in float32 on the {images} images of golden.npz and compared "
        "with PyTorch in float64, whose Grad-CAM uses autograd. Differences are absolute, of heatmap_scale "
        f"relative; where the terms of a heatmap cancel more than {CANCELLATION}-fold, the difference is "
        "divided by the excess. A mask of full.onnx is compared by the mean over its pixels. Of masks and of "
        "the twelve heatmaps, the difference is the median over the images, because a ReLU that switches "
        f"by rounding moves single ones; on any image it may be {LARGEST_SWITCH} at most.",
        _table(
            ("graph", "output", "difference", "on any image", "gate"), [_parity_cells(row) for row in parity]
        ),
        *(_precisions(judgements) if judgements else []),
        *([NOTES_MARK, notes.strip()] if notes else []),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(info: ModelInfo) -> str:
    network = info.network
    encoder = _FAMILIES[network.family]
    if FAMILIES[network.family].WIDTHS is None:
        encoder += f" of base width {network.base_width}"
    return (
        "A Bio-U-Net for dermoscopy images: the probability of melanoma, and for each of five clinical "
        "indicators its probability, what it contributes to the diagnosis in log-odds, a Grad-CAM heatmap "
        f"and a mask. Each indicator has an encoder of its own, {encoder}. The whole image is "
        f"stretched to {network.image_size_px} x {network.image_size_px} pixels. A heatmap is divided by its "
        "own maximum and shows a hot spot in any image: read it together with its indicator's probability."
    )


def _training(info: ModelInfo) -> str:
    epochs = ", ".join(f"{stage} {count}" for stage, count in info.epochs.items())
    versions = ", ".join(f"{library} {version}" for library, version in info.versions.items())
    return f"Configuration `{info.config}`, seed {info.seed}, epochs: {epochs}. Trained with {versions}."


def _figures(info: ModelInfo) -> str:
    if not info.figures:
        return "None were measured."
    return _table(
        ("figure", "value"), [(name, f"{value:.3f}") for name, value in sorted(info.figures.items())]
    )


def _operating_points(info: ModelInfo) -> str:
    points = [(name, info.operating_points[name]) for name in INDICATORS]
    rows = [
        (name, "none" if point.presence is None else f"{point.presence:.3f}", f"{point.mask:.2f}")
        for name, point in points
    ]
    undecided = (
        " Where there is none, no probability made 'present' more often right than wrong there, and only the "
        "probability is reported."
        if any(point.presence is None for _, point in points)
        else ""
    )
    return (
        f"Melanoma is reported at a probability of {info.melanoma_threshold:.3f} or more; an indicator, and "
        "each pixel of its mask, at these probabilities or more. They were chosen on validation images."
        f"{undecided}\n\n"
    ) + _table(("indicator", "presence", "mask"), rows)


def _parity_cells(row: ParityRow) -> tuple[str, ...]:
    numbers = (row.typical_difference, row.largest_difference)
    return row.graph, row.output, *(f"{number:.1e}" for number in numbers), f"{row.gate:.0e}"


def _precisions(judgements: Sequence[Judgement]) -> list[str]:
    images = judgements[0].agreement.images
    rows = [_judgement_cells(judgement) for judgement in judgements]
    header = (
        "precision",
        "melanoma flips",
        "presence flips",
        "probability",
        "heatmap correlation, median",
        "worst",
        "heatmaps lost",
        "mask IoU",
        "",
    )
    return [
        "## Precisions",
        f"The full graph of each precision was run with ONNX Runtime on {images} photographs and compared "
        "with PyTorch in float32, Grad-CAM by one pass of autograd. Decisions that flip, the largest "
        "difference of a probability, and of the five indicators the lowest median and the worst "
        "correlation of heatmaps and the lowest IoU of masks; parity.json has them all, and the gates. What "
        "misses a gate is not in the bundle.",
        _table(header, rows),
    ]


def _judgement_cells(judgement: Judgement) -> tuple[str, ...]:
    agreement = judgement.agreement
    spreads = agreement.heatmap_correlation.values()
    return (
        judgement.precision,
        str(agreement.melanoma_flips),
        str(agreement.presence_flips),
        f"{agreement.probability_difference:.1e}",
        f"{min(spread.median for spread in spreads):.4f}",
        f"{min(spread.worst for spread in spreads):.4f}",
        str(agreement.lost_heatmaps),
        f"{min(agreement.mask_iou.values()):.3f}",
        f"missed: {'; '.join(judgement.problems)}" if judgement.problems else "passed",
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
