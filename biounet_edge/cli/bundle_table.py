"""How `biounet-edge info` describes a bundle."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from biounet_edge.bundle.folder import Bundle
from biounet_edge.bundle.manifest import CANNOT_JUDGE
from biounet_edge.indicators import indicator_label
from biounet_edge.results.text import printable


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Gather what `info` shows.

    Args:
        bundle: An opened, hence checked, bundle.

    Returns:
        The manifest with the bundle's folder, checksum and size, ready for JSON.
    """
    size_bytes = sum(spec.bytes for spec in bundle.manifest.files.values())
    where = {"folder": str(bundle.folder), "checksum": bundle.checksum, "size_bytes": size_bytes}
    return where | bundle.manifest.model_dump(mode="json")


def print_bundle(description: dict[str, Any]) -> None:
    """Print a bundle's description to stdout.

    Args:
        description: From `describe_bundle`.
    """
    spec, melanoma, training = description["input"], description["melanoma"], description["training"]
    rows = {
        "Model": f"{description['name']} {description['version']}",
        "Notice": description["notice"] or "none",
        "Folder": description["folder"],
        "Format": f"{description['format']}, ONNX opset {description['opset']}",
        "Size": f"{description['size_bytes'] / 1e6:.1f} MB, {len(description['files'])} files, checksums "
        "match",
        "Checksum": description["checksum"],
        "Input": f"{spec['height']} x {spec['width']} pixels, {spec['colour_order']}, by {spec['resize']}",
        "Levels": ", ".join(
            f"{name} ({', '.join(level['graphs'])})" for name, level in description["levels"].items()
        ),
        "Melanoma from": f"{melanoma['threshold']:.0%} (bias {melanoma['bias']:+.2f}, "
        f"temperature {melanoma['temperature']:g})",
        "Encoders": _encoders(description["encoder"]),
        "Indicators from": ", ".join(
            f"{indicator_label(name)} {_presence(description['operating_points'][name]['presence'])}"
            for name in description["indicators"]
        ),
        "Familiarity": _familiarity(description["familiarity"]),
        "Training data": "; ".join(training["data"]),
        "Licence": training["licence"],
    }
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in rows.items():
        table.add_row(title, Text(printable(text)))  # a bundle may come from anyone
    Console().print(table)


def _encoders(spec: dict[str, Any] | None) -> str:
    if spec is None:
        return "not described in format 1"
    width = f", base width {spec['base_width']}" if spec["base_width"] is not None else ""
    common = f", first {spec['common_blocks']} blocks shared" if spec["common_blocks"] else ""
    return f"{spec['family']}{width}, decoder width {spec['decoder_width']}{common}"


def _familiarity(spec: dict[str, Any] | None) -> str:
    if spec is None:
        return CANNOT_JUDGE
    return f"assessed from {spec['threshold']:.4g} on ({spec['score']}; {spec['source']})"


def _presence(threshold: float | None) -> str:
    return "probability only" if threshold is None else f"{threshold:.0%}"
