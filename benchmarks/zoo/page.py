"""The tables of docs/gradcam.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biounet_edge.errors import InputError


def replace_table(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replaces what stands between `<!-- name -->` and `<!-- /name -->` in a Markdown file.

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


def agreement_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Makes the table of agreements.

    Args:
        records: Of `Agreement.to_dict`.

    Returns:
        Its lines.
    """
    lines = [
        "| model | layer | heatmap | float64 | PyTorch f32 | ONNX Runtime f32 | OpenVINO f32 | TensorRT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        height, width = record["grid"]
        engine = "not compiled" if record["engine_bytes"] is None else "compiles"
        differences = [f"{record['float64']['largest']:.0e}"] + [
            f"{record[side]['median']:.0e} ({record[side]['largest']:.0e})"
            for side in ("pytorch", "onnxruntime", "openvino")
        ]
        verdict = "" if record["passed"] else " **missed**"
        cells = (
            f"{record['model']}{verdict}",
            f"`{record['layer']}`",
            f"{height} x {width}",
            *differences,
            engine,
        )
        lines.append(f"| {' | '.join(cells)} |")
    models = {record["model"] for record in records}
    families = {record["family"] for record in records}
    passed = sum(record["passed"] for record in records)
    lines += [
        "",
        f"{len(models)} models of {len(families)} families, {len(records)} layers: {passed} within their "
        f"gates. Least share of pixels above zero: {min(record['nonzero'] for record in records):.0%}.",
    ]
    return lines


def method_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Makes the table of methods.

    Args:
        records: Of `Agreement.to_dict`, one model with each method.

    Returns:
        Its lines.
    """
    lines = [
        "| method | model | layer | float64 | ONNX Runtime f32 | OpenVINO f32 |",
        "|---|---|---|---|---|---|",
    ]
    for record in records:
        differences = [
            f"{record['float64']['largest']:.0e}",
            *(f"{record[side]['median']:.0e}" for side in ("onnxruntime", "openvino")),
        ]
        cells = (record["method"], record["model"], f"`{record['layer']}`", *differences)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cost_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Makes the table of costs.

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
