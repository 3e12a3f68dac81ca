"""Table 7: billion FLOPs of each subnetwork, ours beside the paper's."""

from collections.abc import Sequence

from train.flops import SubnetworkFlops, count_flops
from train.network import NetworkConfig
from train.tables import paper
from train.tables.cells import format_cell, format_markdown
from train.tables.runs import JudgedRun


def format_table_7(runs: Sequence[JudgedRun]) -> str:
    """Table 7 as Markdown: the paper's topology, then each topology of the runs."""
    full = NetworkConfig(heatmap_size_px=512)  # the paper's
    topologies = [full]
    for run in runs:
        # Which tasks an encoder has changes its cost by a few thousand operations.
        plain = NetworkConfig(run.network.base_width, run.network.image_size_px, run.network.heatmap_size_px)
        if plain not in topologies:
            topologies.append(plain)
    counts = [count_flops(topology) for topology in topologies]
    columns = [_parts(count) for count in counts]
    lines = []
    for index, (label, _, _) in enumerate(columns[0]):
        published = columns[0][index][2]
        cells = [format_cell([columns[0][index][1]], published, 1, 1)]
        cells += [format_cell([column[index][1]], None, 3, 1) for column in columns[1:]]
        lines.append((label, *cells))
    header = ("billion FLOPs for one image", *map(_describe, topologies))
    return f"{format_markdown(header, lines)}\n\n{_disagreement(counts[0])}"


def _parts(flops: SubnetworkFlops) -> list[tuple[str, float, float | None]]:
    """Label, our figure, the paper's figure."""
    published = paper.TABLE_7
    return [
        ("f_CLR: one forward of the encoder", flops.encoder_forward, published["f_clr"]),
        ("f_CLR: update, two views, forward and backward", flops.contrastive_update, None),
        ("f_Res: update, forward and backward", flops.classification_update, published["f_res"]),
        ("Grad-CAM of one logit: forward, gradient to the first of 12 blocks", flops.grad_cam, None),
        ("f_Seg: one forward of the U-Net over 12 heatmaps", flops.segmentation_forward, None),
        ("f_Seg: the decoder's part of that forward", flops.decoder_forward, None),
        ("f_Seg: update, forward and backward", flops.segmentation_update, published["f_seg"]),
        (
            "total as the paper adds: f_CLR forward, f_Res and f_Seg updates",
            _paper_total(flops),
            published["total"],
        ),
        ("total of an iteration: all three updates and Grad-CAM", flops.iteration, None),
    ]


def _paper_total(flops: SubnetworkFlops) -> float:
    return flops.encoder_forward + flops.classification_update + flops.segmentation_update


def _describe(config: NetworkConfig) -> str:
    return f"base width {config.base_width}, {config.image_size_px} px, heatmaps {config.heatmap_size_px} px"


def _disagreement(flops: SubnetworkFlops) -> str:
    ours = {
        "f_clr": flops.encoder_forward,
        "f_res": flops.classification_update,
        "f_seg": flops.segmentation_update,
        "total": _paper_total(flops),
    }
    names = {"f_clr": "f_CLR", "f_res": "f_Res", "f_seg": "f_Seg", "total": "the total"}
    against = ", ".join(
        f"{names[part]} {100 * (ours[part] / published - 1):+.1f} %"
        for part, published in paper.TABLE_7.items()
    )
    return (
        f"Ours against the paper's: {against}. Two FLOPs are counted for a multiply-add; batch norm, ReLU, "
        "pooling and resizing are left out. The paper's 43.2 is one forward of a ResNet-50, so f_CLR's cost "
        "for one view without a backward pass; its 129.5 is three times that, a training step; its total "
        "adds both to f_Seg's 469.3. It does not say how wide the decoder of its U-Net is, nor whether 469.3 "
        "holds the backward pass or Grad-CAM; our decoder has 256, 128, 64, 32 and 16 channels."
    )
