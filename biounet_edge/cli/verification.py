"""How `biounet-edge verify` shows its result."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from biounet_edge.checks.verification import Certificate, LevelComparison
from biounet_edge.indicators import indicator_label


def print_certificate(certificate: Certificate) -> None:
    """Print a verification to stdout.

    Args:
        certificate: What `verify` found.
    """
    console = Console()
    for level in certificate.levels:
        console.print(_agreement_table(certificate, level) if level.agreement else _check_table(level))
    verdict = "reproduces" if certificate.passed else "does NOT reproduce"
    text = f"{certificate.backend} {verdict} {certificate.bundle} in {certificate.precision}"
    console.print(Text(text, "green" if certificate.passed else "red"))


def _agreement_table(certificate: Certificate, level: LevelComparison) -> Table:
    """One row per gate, and per output where every number is judged."""
    agreement, gates = level.agreement, certificate.gates
    assert agreement is not None, "the caller has checked"
    other = "PyTorch" if level.against == "golden" else "float32"
    images = "golden images" if level.against == "golden" else level.against
    title = f"{level.level}: {agreement.images} {images}"
    table = Table("Figure", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column(f"Against {other}", justify="right")
    table.add_column("Accepted", justify="right")
    rows: list[tuple[str, str, str, bool]] = [
        _row("melanoma decisions that flip", agreement.melanoma_flips, gates.melanoma_flips, "d"),
        _row(
            "largest probability difference", agreement.probability_difference, gates.probability_difference
        ),
    ]
    if agreement.unfamiliar_flips:
        rows.append(
            _row("images familiar to one alone", agreement.unfamiliar_flips, gates.unfamiliar_flips, "d")
        )
    if agreement.heatmap_correlation:
        rows.append(
            _row("heatmaps all zero that were not", agreement.lost_heatmaps, gates.lost_heatmaps, "d")
        )
    for name, spread in agreement.heatmap_correlation.items():
        label = f"heatmap correlation, {indicator_label(name)}"
        rows.append(_row(f"{label}, median", spread.median, gates.median_correlation, ".4f", at_least=True))
        rows.append(_row(f"{label}, worst", spread.worst, gates.worst_correlation, ".4f", at_least=True))
    for name, iou in agreement.mask_iou.items():
        rows.append(_row(f"mask IoU, {indicator_label(name)}", iou, gates.mask_iou, ".4f", at_least=True))
    for check in level.checks:
        if check.tolerance is not None and check.largest_difference is not None:
            rows.append(
                _row(f"{check.output}, largest difference", check.largest_difference, check.tolerance)
            )
    for title, value, gate, passed in rows:
        table.add_row(title, Text(value, "green" if passed else "red"), gate)
    return table


def _row(
    title: str, value: float, gate: float, form: str = ".1e", *, at_least: bool = False
) -> tuple[str, str, str, bool]:
    passed = value >= gate if at_least else value <= gate
    return title, format(value, form), f"{'>=' if at_least else '<='} {gate:g}", passed


def _check_table(level: LevelComparison) -> Table:
    """Say what is wrong with outputs that cannot even be compared."""
    table = Table("Output", "Result", box=box.SIMPLE_HEAD, title=level.level, title_justify="left")
    for check in level.checks:
        table.add_row(check.output, Text(check.problem or "ok", "red" if check.problem else "green"))
    return table
