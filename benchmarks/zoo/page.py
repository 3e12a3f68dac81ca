"""The tables of docs/gradcam.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo.agreement import Agreement
from biounet_edge.errors import InputError


def replace_table(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` in a Markdown file.

    Args:
        page: The file.
        name: Name of the place.
        lines: The new content.

    Raises:
        InputError: If the file has no such place.
    """
    text = page.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not place.search(text):
        raise InputError(f"{page} has no place <!-- {name} --> ... <!-- /{name} --> for the table")
    content = "\n".join(["", *lines, "", ""])
    page.write_text(place.sub(lambda match: match[1] + content + match[2], text), encoding="utf-8")


def agreement_table(agreements: Sequence[Agreement]) -> list[str]:
    """Make the table of agreements.

    Args:
        agreements: The comparisons, with one method.

    Returns:
        Its lines.
    """
    lines = [
        "| model | layer | heatmap | float64 | rounding | PyTorch | ONNX Runtime | OpenVINO | TensorRT |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for item in agreements:
        sides = (item.rounding, item.pytorch, item.onnxruntime, item.openvino)
        cells = [
            item.model if item.passed else f"{item.model} **missed**",
            f"`{item.layer}`",
            f"{item.grid[0]} x {item.grid[1]}",
            f"{item.float64.largest:.0e}",
            *(f"{side.median:.0e} ({side.largest:.0e})" for side in sides),
            "plain graph refused" if item.plain_is_refused else "compiles" if item.engine_bytes else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    passed = sum(item.passed for item in agreements)
    lines += [
        "",
        f"{len({item.model for item in agreements})} models of {len({item.family for item in agreements})} "
        f"families, {len(agreements)} layers, {passed} of them within their gates. No heatmap is all zero: "
        f"at least {min(item.nonzero for item in agreements):.0%} of the pixels of each are above zero.",
    ]
    return lines


def method_table(agreements: Sequence[Agreement]) -> list[str]:
    """Make the table of methods.

    Args:
        agreements: One model with each method.

    Returns:
        Its lines.
    """
    lines = [
        "| method | model | layer | float64 | rounding | ONNX Runtime | OpenVINO |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in agreements:
        sides = (item.rounding, item.onnxruntime, item.openvino)
        cells = [item.method, item.model, f"`{item.layer}`", f"{item.float64.largest:.0e}"]
        cells += [f"{side.median:.0e} ({side.largest:.0e})" for side in sides]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cost_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Make the table of costs.

    Args:
        records: Of `Cost.to_dict`.

    Returns:
        Its lines.
    """
    lines = [
        "| model | ONNX Runtime, plain | with heatmap | OpenVINO, plain | with heatmap | PyTorch, plain | "
        "pytorch-grad-cam |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in records:
        cells = [record["model"]]
        for plain, ratio in (
            ("onnxruntime_ms", "onnxruntime_ratio"),
            ("openvino_ms", "openvino_ratio"),
            ("pytorch_ms", "gradcam_ratio"),
        ):
            cells += [f"{record[plain]:.1f} ms", f"{record[ratio]:.2f}x"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
